import { bounds } from '../../contract/metrics.ts'
import { errorTypeOf } from '../../kit/errors.ts'
import { Buckets, Level, type Sample } from '../../kit/metrics.ts'
import type { AttributeValue, Span } from '../../kit/trace.ts'
import { sqlState } from '../db/failure.ts'
import type { ConnectionWatch, DatabaseObserver } from '../db/observer.ts'
import type { Statement } from '../db/statement.ts'

export type StatementTelemetryOptions = {
  /** Of the database; only its host, its port and the database's name are told of it. */
  readonly url: string
  readonly clock: { readonly now: () => number }
}

/** By the type of error; the key of what went well is empty. */
type ByError = Map<string, Buckets>

/**
 * What is measured of the database, and the spans of what requests wait for there. A statement costs two looks at the
 * clock. https://opentelemetry.io/docs/specs/semconv/database/postgresql/
 */
export class StatementTelemetry implements DatabaseObserver {
  /** Connections of the pool that are lent. */
  readonly used = new Level()
  /** Those who wait for one. */
  readonly pending = new Level()
  readonly waits = new Buckets(bounds.wait)
  readonly now: () => number
  readonly #server: Readonly<Record<string, AttributeValue>>
  readonly #durations = new Map<string, ByError>()

  constructor({ url, clock }: StatementTelemetryOptions) {
    this.now = clock.now
    this.#server = { 'db.system.name': system, ...serverOf(url) }
  }

  span({ summary, text }: Statement<unknown>, parent: Span, startMs: number): Span {
    const span = parent.child(summary.text, 'client', startMs)
    span.attributes = {
      ...this.#server,
      'db.operation.name': summary.operation,
      'db.query.summary': summary.text,
      'db.query.text': text,
      ...(summary.table !== undefined && { 'db.collection.name': summary.table }),
    }
    return span
  }

  statementEnded({ summary }: Statement<unknown>, startMs: number, span: Span | undefined, error?: unknown): void {
    const endMs = this.now()
    const errorType = error === undefined ? '' : errorTypeOf(error)
    this.#durationsOf(summary.text, errorType).observe((endMs - startMs) / 1_000)
    if (span !== undefined) end(span, endMs, error)
  }

  connectionAsked(waits: boolean, parent: Span | undefined): ConnectionWatch {
    const startMs = this.now()
    const span = waits ? parent?.child('pool wait', 'internal', startMs) : undefined
    this.pending.add(startMs)
    const waited = (): number => {
      const nowMs = this.now()
      this.pending.remove(nowMs)
      this.waits.observe((nowMs - startMs) / 1_000)
      return nowMs
    }
    return {
      got: () => {
        const nowMs = waited()
        this.used.add(nowMs)
        span?.end(undefined, nowMs)
      },
      gaveBack: () => this.used.remove(this.now()),
      failed: (why) => {
        const nowMs = waited()
        span?.end(errorTypeOf(why), nowMs)
      },
    }
  }

  /** The lines of `db_client_operation_duration_seconds`. */
  durations(): readonly Sample[] {
    return Array.from(this.#durations, ([summary, byError]) =>
      Array.from(byError, ([errorType, buckets]) =>
        buckets.samples('db_client_operation_duration_seconds', {
          db_system_name: system,
          db_query_summary: summary,
          error_type: errorType,
        }),
      ),
    ).flat(2)
  }

  #durationsOf(summary: string, errorType: string): Buckets {
    let byError = this.#durations.get(summary)
    if (byError === undefined) this.#durations.set(summary, (byError = new Map()))
    let buckets = byError.get(errorType)
    if (buckets === undefined) byError.set(errorType, (buckets = new Buckets(bounds.statement)))
    return buckets
  }
}

const system = 'postgresql'
const defaultPort = 5_432

const end = (span: Span, endMs: number, error: unknown): void => {
  if (error === undefined) return span.end(undefined, endMs)
  const state = sqlState(error)
  if (state !== undefined) span.set('db.response.status_code', state)
  span.end(errorTypeOf(error), endMs)
}

/**
 * Host, port and database of a URL. Nothing of one that cannot be read or has odd names: with a character in its password
 * that should have been encoded, a URL falls into other parts than were meant.
 */
const serverOf = (text: string): Readonly<Record<string, AttributeValue>> => {
  const url = URL.parse(text)
  const database = url?.pathname.slice(1) ?? ''
  if (url === null || !/^[\w.-]*$/.test(database) || `${url.search}${url.hash}`.includes('@')) return {}
  const address = url.searchParams.get('host') ?? url.hostname
  return {
    ...(database !== '' && { 'db.namespace': database }),
    ...(address !== '' && { 'server.address': address, 'server.port': Number(url.port) || defaultPort }),
  }
}
