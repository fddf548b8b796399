import type { ExportResultCode } from '@opentelemetry/core'
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace'
import type { Logger } from 'pino'

/** What became of the spans that were handed over. */
export class SpanOutcomes {
  exported = 0
  failed = 0
}

export type WatchOptions = {
  readonly outcomes: SpanOutcomes
  readonly log: Logger
  /** Said in the log: where the spans go, without what is secret of it. */
  readonly collector: string
  /** Told of each batch when nothing more will be done for it. */
  readonly onSettled: (spans: number) => void
}

type Result = Parameters<Parameters<SpanExporter['export']>[1]>[0]

/**
 * The exporter with its results counted. The log has a line when the collector is reached and one when it is not any
 * more, not one for each batch.
 */
export const watched = (exporter: SpanExporter, options: WatchOptions): SpanExporter => {
  const reach = new Reachability(options)
  return {
    export: (spans, report) =>
      exporter.export(spans, (result) => {
        settle(spans, result, options, reach)
        report(result)
      }),
    shutdown: () => exporter.shutdown(),
    forceFlush: () => exporter.forceFlush?.() ?? Promise.resolve(),
  }
}

// Not the SDK's own constant: all of core would have to be loaded for it.
const success: ExportResultCode.SUCCESS = 0

const settle = (spans: ReadableSpan[], { code, error }: Result, options: WatchOptions, reach: Reachability): void => {
  const exported = code === success
  options.outcomes[exported ? 'exported' : 'failed'] += spans.length
  if (exported) reach.reached()
  else reach.missed(reasonOf(error))
  options.onSettled(spans.length)
}

class Reachability {
  readonly #options: WatchOptions
  #reachable: boolean | undefined = undefined

  constructor(options: WatchOptions) {
    this.#options = options
  }

  reached(): void {
    if (this.#reachable === true) return
    this.#reachable = true
    const { log, collector } = this.#options
    log.info({ collector }, 'the collector takes traces')
  }

  missed(reason: string): void {
    if (this.#reachable === false) return
    this.#reachable = false
    const { log, collector } = this.#options
    log.warn({ collector, reason }, 'the collector takes no traces: what finds no room until it does is dropped')
  }
}

/** An error's code, a status of HTTP or gRPC included; its message, which of the SDK's own errors is fixed, without one. */
const reasonOf = (error: (Error & { code?: string | number }) | undefined): string =>
  error === undefined ? 'unknown' : String(error.code ?? error.message)
