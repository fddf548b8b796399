import type { Logger } from 'pino'
import type { Metric } from '../../kit/metrics.ts'
import type { Clock } from '../../kit/timers.ts'
import type { Config } from '../config.ts'
import type { Identity } from '../identity.ts'
import { type Collected, type Collector, collectMetrics, each, single } from './collect.ts'
import { SpanOutcomes } from './export-outcome.ts'
import { whenQuiet } from './quiet.ts'
import { tellLog } from './request-log.ts'
import { RequestTelemetry, type Told } from './requests.ts'
import { RuntimeMetrics } from './runtime.ts'
import { Sampler } from './sampler.ts'
import type { TraceExport } from './export.ts'
import { TraceQueue } from './trace-queue.ts'

export type TelemetryDeps = {
  readonly config: Config
  readonly identity: Identity
  readonly clock: Clock
  readonly random: () => number
  readonly log: Logger
  /** Lines that the log could not write so far; default: none. */
  readonly linesDropped?: () => number
}

type TelemetryConfig = NonNullable<Config['telemetry']>

/** For what is left to export when the service ends: within 2 s it is gone, whatever the collector does. */
const longestCloseMs = 1_200

/** Traces, metrics and log lines of one process. */
export class Telemetry implements AsyncDisposable {
  readonly requests: RequestTelemetry
  /** Where complete traces wait for the exporter. */
  readonly traces: TraceQueue | undefined
  readonly #deps: TelemetryDeps
  readonly #config: TelemetryConfig
  readonly #collectors: Collector[] = []
  readonly #runtime: RuntimeMetrics
  readonly #outcomes = new SpanOutcomes()
  /** Aborted when the service ends: what would have waited for a quiet moment is done at once. */
  readonly #ending = new AbortController()
  #export: Promise<TraceExport | undefined> | undefined

  constructor(config: TelemetryConfig, deps: TelemetryDeps) {
    this.#deps = deps
    this.#config = config
    const { clock, random, log } = deps
    const { sloMs, slowMs, tracing } = config
    const tell = tellLog(log)
    const traces = tracing === undefined ? undefined : new TraceQueue()
    this.traces = traces
    this.requests = new RequestTelemetry({
      clock,
      sloMs,
      slowMs,
      sampler: tracing === undefined ? undefined : new Sampler(tracing.sampling, { clock, random }),
      linesDropped: deps.linesDropped,
      tell: (told: Told) => {
        if (told.trace !== undefined) traces?.add(told.trace)
        tell(told)
      },
    })
    this.add((nowMs) => this.requests.collect(nowMs))
    this.add(() => this.#own())
    this.#runtime = new RuntimeMetrics({ worker: deps.identity.worker, clock })
    this.add(() => this.#runtime.collect())
  }

  /** Lets a part of the service tell its metrics. */
  add(collector: Collector): void {
    this.#collectors.push(collector)
  }

  /** The metrics of this process as they are now. */
  collect(): Promise<Metric[]> {
    return collectMetrics(this.#collectors, this.#deps.clock.now())
  }

  /** Loads what is not needed to answer the first requests. What they left to be told is kept until then. */
  async open(): Promise<void> {
    this.#runtime.start()
    await (this.#export ??= this.#startExport())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#runtime[Symbol.dispose]()
    const { traces } = this
    this.#ending.abort()
    if (traces === undefined || (this.#export === undefined && traces.spans === 0)) return
    const { clock, log } = this.#deps
    const untilMs = clock.now() + longestCloseMs
    const exporting = await (this.#export ??= this.#startExport())
    const lost = exporting === undefined ? traces.spans : await exporting.close(untilMs - clock.now())
    if (lost > 0) log.warn({ spans: lost }, 'spans were not exported before the end')
  }

  async #startExport(): Promise<TraceExport | undefined> {
    const { tracing } = this.#config
    const queue = this.traces
    if (tracing === undefined || queue === undefined) return undefined
    const { clock, log } = this.#deps
    await whenQuiet({ clock, signal: this.#ending.signal, urgent: () => queue.spans > queue.room })
    try {
      const { startExport } = await import('./export.ts')
      return await startExport({ ...this.#deps, tracing, queue, outcomes: this.#outcomes })
    } catch (err) {
      log.error({ err }, 'traces cannot be exported')
      return undefined
    }
  }

  #own(): Collected {
    const { version, revision } = this.#deps.config.build
    const { exported, failed } = this.#outcomes
    const spans = this.traces && { exported, failed, dropped: this.traces.dropped }
    return {
      ...(spans && { plimsoll_spans_total: each('outcome', spans) }),
      plimsoll_slo_seconds: single(this.#config.sloMs / 1_000),
      plimsoll_build_info: [{ labels: { version, revision, node: process.version }, value: 1 }],
    }
  }
}
