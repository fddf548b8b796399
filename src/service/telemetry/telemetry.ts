import type { Logger } from 'pino'
import type { Metric } from '../../kit/metrics.ts'
import type { Clock } from '../../kit/timers.ts'
import type { Config } from '../config.ts'
import type { Identity } from '../identity.ts'
import { type Collected, type Collector, collectMetrics, single } from './collect.ts'
import { tellLog } from './request-log.ts'
import { RequestTelemetry, type Told } from './requests.ts'
import { Sampler } from './sampler.ts'
import { TraceQueue } from './trace-queue.ts'

export type TelemetryDeps = {
  readonly config: Config
  readonly identity: Identity
  readonly clock: Clock
  readonly random: () => number
  readonly log: Logger
}

type TelemetryConfig = NonNullable<Config['telemetry']>

/** Traces, metrics and log lines of one process. */
export class Telemetry implements AsyncDisposable {
  readonly requests: RequestTelemetry
  /** Where complete traces wait for the exporter. */
  readonly traces: TraceQueue | undefined
  readonly #deps: TelemetryDeps
  readonly #config: TelemetryConfig
  readonly #collectors: Collector[] = []

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
      tell: (told: Told) => {
        if (told.trace !== undefined) traces?.add(told.trace)
        tell(told)
      },
    })
    this.add((nowMs) => this.requests.collect(nowMs))
    this.add(() => this.#own())
  }

  /** Lets a part of the service tell its metrics. */
  add(collector: Collector): void {
    this.#collectors.push(collector)
  }

  /** The metrics of this process as they are now. */
  collect(): Metric[] {
    return collectMetrics(this.#collectors, this.#deps.clock.now())
  }

  /** Loads what is not needed to answer the first requests. What they left to be told is kept until then. */
  async open(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}

  #own(): Collected {
    const { version, revision } = this.#deps.config.build
    return {
      plimsoll_slo_seconds: single(this.#config.sloMs / 1_000),
      plimsoll_build_info: [{ labels: { version, revision, node: process.version }, value: 1 }],
    }
  }
}
