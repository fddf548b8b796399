import { loadBounds, loadMetrics, type LoadMetricName } from '../../contract/load-metrics.ts'
import { outcomes, type Outcome } from '../../contract/run-result.ts'
import { Buckets, type Metric, type Sample as Line } from '../../kit/metrics.ts'
import type { RunObserver, Sample } from './driver.ts'
import type { LoadOptions } from './options.ts'

export type RunMetricsOptions = Pick<LoadOptions, 'ratePerSecond' | 'warmupMs' | 'arrivals'> & {
  /** That of the result. */
  readonly runId: string
}

/**
 * What a run shows while it goes on: counts and buckets of its own beside the recorder's finer figures, which cannot be
 * read in the middle of a run without taking time from the driver. What is measured, and of which requests, is as in
 * the recorder; requests of the warm-up are in the counts alone.
 */
export class RunMetrics implements RunObserver {
  readonly #options: RunMetricsOptions
  readonly #latency = new Buckets(loadBounds.latency)
  readonly #service = new Buckets(loadBounds.latency)
  readonly #sendLag = new Buckets(loadBounds.sendLag)
  readonly #ended: Record<Outcome, number> = { ok: 0, httpError: 0, timeout: 0, connectionError: 0, censored: 0 }
  #sent = 0
  #inFlight = 0
  #missed = 0
  #phase: 'before' | 'arrivals' | 'after' = 'before'

  constructor(options: RunMetricsOptions) {
    this.#options = options
  }

  sent(sample: Sample): void {
    this.#sent++
    this.#inFlight++
    if (this.#measures(sample)) this.#sendLag.observe((sample.sentMs - sample.intendedMs) / 1_000)
  }

  ended(sample: Sample): void {
    this.#inFlight--
    this.#ended[sample.outcome]++
    // A refused connection says nothing about how long an answer takes.
    if (sample.outcome === 'connectionError' || !this.#measures(sample)) return
    this.#latency.observe((sample.endedMs - sample.intendedMs) / 1_000)
    this.#service.observe((sample.endedMs - sample.sentMs) / 1_000)
  }

  missed(): void {
    this.#missed++
  }

  ticked(): void {
    if (this.#phase === 'before') this.#phase = 'arrivals'
  }

  arrivalsEnded(): void {
    this.#phase = 'after'
  }

  /** All of them as they are now; also before the run, all zeros, and after it. */
  collect(): Metric[] {
    const { runId: run_id, arrivals, ratePerSecond } = this.#options
    const values: Readonly<Record<LoadMetricName, readonly Line[]>> = {
      plimsoll_load_arrivals_total: single(this.#sent + this.#missed),
      plimsoll_load_sent_total: single(this.#sent),
      plimsoll_load_missed_total: single(this.#missed),
      plimsoll_load_answers_total: outcomes.map((outcome) => ({ labels: { outcome }, value: this.#ended[outcome] })),
      plimsoll_load_in_flight: single(this.#inFlight),
      plimsoll_load_latency_seconds: this.#latency.samples('plimsoll_load_latency_seconds', {}),
      plimsoll_load_service_seconds: this.#service.samples('plimsoll_load_service_seconds', {}),
      plimsoll_load_send_lag_seconds: this.#sendLag.samples('plimsoll_load_send_lag_seconds', {}),
      plimsoll_load_rate_asked_per_second: single(this.#phase === 'arrivals' ? ratePerSecond : 0),
      plimsoll_load_run_info: [{ labels: { run_id, arrivals }, value: 1 }],
    }
    return names.map((name) => {
      const { type, help } = loadMetrics[name]
      return { name, type, help, values: values[name] }
    })
  }

  #measures({ intendedMs }: Sample): boolean {
    return intendedMs >= this.#options.warmupMs
  }
}

const names = Object.keys(loadMetrics) as LoadMetricName[]

const single = (value: number): readonly Line[] => [{ labels: {}, value }]
