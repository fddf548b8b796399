/** A collector of traces that speaks OTLP over HTTP, in JSON and in protobuf, on a free port of 127.0.0.1. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import { decodeTraces, type OtlpTraces, type OtlpValue } from './otlp.ts'
import { until } from './until.ts'

/** A span as it was received, with all that stood around it. */
export type CollectedSpan = {
  readonly traceId: string
  readonly spanId: string
  /** Undefined for a root. */
  readonly parentSpanId: string | undefined
  readonly traceState: string | undefined
  /** Bits 0-7 are those of W3C, 8 says that 9 counts, 9 that the parent is remote. */
  readonly flags: number
  readonly name: string
  readonly kind: 'unspecified' | 'internal' | 'server' | 'client' | 'producer' | 'consumer'
  /** Since 1970, to the microsecond. */
  readonly startMs: number
  readonly endMs: number
  readonly attributes: Record<string, unknown>
  readonly status: 'unset' | 'ok' | 'error'
  readonly statusMessage: string | undefined
  readonly resource: Record<string, unknown>
  /** Name and version of who made it. */
  readonly scope: { readonly name: string; readonly version: string | undefined }
}

/** A request as it came in, refused ones included. */
export type CollectedRequest = {
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly bytes: number
  /** Of its spans. */
  readonly spans: number
}

/**
 * `ok` takes all; `slow` takes all after {@link slowMs}; `hang` never answers; `error` answers 500; `cut` closes the
 * connection without an answer. What is not taken is not among the spans.
 */
export type Behaviour = 'ok' | 'slow' | 'hang' | 'error' | 'cut'

export const slowMs = 300

export type Collector = AsyncDisposable & {
  /** `http://127.0.0.1:PORT`, for OTEL_EXPORTER_OTLP_ENDPOINT. */
  readonly url: string
  readonly port: number
  /** All that were taken, in the order in which they came. */
  spans(): readonly CollectedSpan[]
  requests(): readonly CollectedRequest[]
  /** Waits for what `predicate` makes of the spans to be neither undefined nor false; fails after `timeoutMs`, 10 s. */
  until<Result>(
    predicate: (spans: readonly CollectedSpan[]) => Result | undefined | false,
    timeoutMs?: number,
  ): Promise<Result>
  behave(mode: Behaviour): void
}

/** Spans and requests that came in, and how long to wait for them: what collectors of all protocols have. */
export class Inbox {
  readonly #spans: CollectedSpan[] = []
  readonly #requests: CollectedRequest[] = []
  mode: Behaviour = 'ok'

  readonly spans = (): readonly CollectedSpan[] => this.#spans
  readonly requests = (): readonly CollectedRequest[] => this.#requests
  readonly behave = (mode: Behaviour): void => {
    this.mode = mode
  }

  readonly until = <Result>(
    predicate: (spans: readonly CollectedSpan[]) => Result | undefined | false,
    timeoutMs = 10_000,
  ): Promise<Result> => until('spans at the collector', () => predicate(this.#spans), timeoutMs)

  /** Notes a request and behaves as told; the answer is whether it is to be answered, and how. */
  async receive(request: Omit<CollectedRequest, 'spans'>, traces: OtlpTraces): Promise<Behaviour> {
    const spans = flatten(traces)
    this.#requests.push({ ...request, spans: spans.length })
    const { mode } = this
    if (mode === 'slow') await sleep(slowMs)
    if (mode === 'ok' || mode === 'slow') this.#spans.push(...spans)
    return mode
  }
}

/** Starts one; `port` 0, the default, is a free one. */
export const startCollector = async ({ port: wanted = 0 }: { readonly port?: number } = {}): Promise<Collector> => {
  const inbox = new Inbox()
  const server = createServer((req, res) => void answer(inbox, req, res))
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(wanted, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo
  const { spans, requests, behave, until: wait } = inbox
  const close = (): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    server.closeAllConnections()
    return closed
  }
  return { url: `http://127.0.0.1:${port}`, port, spans, requests, behave, until: wait, [Symbol.asyncDispose]: close }
}

const json = 'application/json'

const answer = async (inbox: Inbox, req: IncomingMessage, res: ServerResponse): Promise<void> => {
  const body = await read(req)
  const type = req.headers['content-type'] ?? ''
  const plain = req.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body
  const traces = type === json ? (JSON.parse(plain.toString()) as OtlpTraces) : decodeTraces(plain)
  const mode = await inbox.receive({ path: req.url!, headers: req.headers, bytes: body.length }, traces)
  if (mode === 'hang') return
  if (mode === 'cut') return void req.socket.destroy()
  // An empty answer means in both encodings that all was taken.
  res.writeHead(mode === 'error' ? 500 : 200, { 'Content-Type': type })
  res.end(type === json ? '{}' : '')
}

const read = async (req: IncomingMessage): Promise<Buffer> => {
  const chunks: Buffer[] = []
  for await (const chunk of req) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

const kinds = ['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'] as const
const statuses = ['unset', 'ok', 'error'] as const

const flatten = ({ resourceSpans = [] }: OtlpTraces): CollectedSpan[] =>
  resourceSpans.flatMap(({ resource, scopeSpans = [] }) =>
    scopeSpans.flatMap(({ scope, spans = [] }) =>
      spans.map(
        (span): CollectedSpan => ({
          traceId: span.traceId,
          spanId: span.spanId,
          parentSpanId: span.parentSpanId || undefined,
          traceState: span.traceState || undefined,
          flags: span.flags ?? 0,
          name: span.name,
          kind: kinds[span.kind ?? 0]!,
          startMs: milliseconds(span.startTimeUnixNano),
          endMs: milliseconds(span.endTimeUnixNano),
          attributes: record(span.attributes),
          status: statuses[span.status?.code ?? 0]!,
          statusMessage: span.status?.message || undefined,
          resource: record(resource?.attributes),
          scope: { name: scope?.name ?? '', version: scope?.version || undefined },
        }),
      ),
    ),
  )

const milliseconds = (nanoseconds: string): number => Number(BigInt(nanoseconds) / 1_000n) / 1_000

type Pairs = readonly { readonly key: string; readonly value?: OtlpValue }[]

const record = (pairs: Pairs = []): Record<string, unknown> =>
  Object.fromEntries(pairs.map(({ key, value }) => [key, valueOf(value)]))

const valueOf = (value: OtlpValue = {}): unknown => {
  if (value.arrayValue !== undefined) return (value.arrayValue.values ?? []).map(valueOf)
  if (value.kvlistValue !== undefined) return record(value.kvlistValue.values)
  if (value.intValue !== undefined) return Number(value.intValue)
  return value.stringValue ?? value.boolValue ?? value.doubleValue
}
