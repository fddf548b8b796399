import type { Outcome, TimelinePoint } from '../../contract/run-result.ts'
import { Histogram } from '../../kit/histogram.ts'
import type { RunObserver, Sample } from './driver.ts'

export type RecorderOptions = {
  /** Requests intended before this are load, but not measured. */
  readonly warmupMs: number
  /** When arrivals end, unless the run is interrupted. */
  readonly endMs: number
  /** Is shown each second when it is over. */
  readonly onSecond?: (point: TimelinePoint) => void
}

/** Beyond this many names, answers are counted under `(other)`: a header must not be able to fill the memory. */
const mostInstances = 1_000

/** The driver is considered stalled when it runs this much later than it asked to. */
export const stallMs = 100

const secondMs = 1_000

/**
 * Turns what happens in a run into counts and histograms, in memory that grows with the seconds of the run and not
 * with its requests.
 */
export class Recorder implements RunObserver {
  readonly latency = new Histogram()
  readonly serviceTime = new Histogram()
  readonly sendLag = new Histogram()
  readonly failures = new Histogram()
  readonly outcomes: Record<Outcome, number> = { ok: 0, httpError: 0, timeout: 0, connectionError: 0, censored: 0 }
  readonly statuses = new Map<number, number>()
  readonly errors = new Map<string, number>()
  readonly instances = new Map<string, { requests: number; errors: number }>()
  readonly timeline: TimelinePoint[] = []
  /** Requests sent. */
  requests = 0
  missedArrivals = 0
  /** Requests sent, and answers received, while arrivals were planned; answers to the warm-up's requests included. */
  sentInTime = 0
  answeredInTime = 0
  /** How long the driver stood still altogether, and at most at once. */
  stalledMs = 0
  longestStallMs = 0
  /** When arrivals really ended, and how many requests were in flight then. */
  arrivalsEndedMs: number
  backlog = 0

  readonly #warmupMs: number
  readonly #second: Second
  #inTime = true

  constructor({ warmupMs, endMs, onSecond }: RecorderOptions) {
    this.#warmupMs = warmupMs
    this.arrivalsEndedMs = endMs
    this.#second = new Second((point) => {
      this.timeline.push(point)
      onSecond?.(point)
    })
  }

  sent(sample: Sample): void {
    this.#second.sent(sample)
    if (!this.#measures(sample.intendedMs)) return
    this.requests++
    if (this.#isInTime(sample.sentMs)) this.sentInTime++
    this.sendLag.record(sample.sentMs - sample.intendedMs)
  }

  ended(sample: Sample): void {
    this.#second.ended(sample)
    if (hasAnswer(sample) && this.#measures(sample.endedMs) && this.#isInTime(sample.endedMs)) this.answeredInTime++
    if (!this.#measures(sample.intendedMs)) return
    this.outcomes[sample.outcome]++
    this.#recordTimes(sample)
    if (sample.error !== '') increment(this.errors, sample.error)
    if (hasAnswer(sample)) this.#recordAnswer(sample)
  }

  missed(intendedMs: number): void {
    if (this.#measures(intendedMs)) this.missedArrivals++
  }

  ticked(nowMs: number, lateMs: number): void {
    this.#second.rollTo(nowMs)
    if (lateMs < stallMs || !this.#measures(nowMs)) return
    this.stalledMs += lateMs
    this.longestStallMs = Math.max(this.longestStallMs, lateMs)
  }

  arrivalsEnded(atMs: number): void {
    this.#inTime = false
    this.backlog = this.#second.inFlight
    this.arrivalsEndedMs = Math.min(this.arrivalsEndedMs, atMs)
  }

  /** Adds the second that the run ended in to the timeline. To be called once, at the end. */
  close(): void {
    this.#second.finish()
  }

  #measures(atMs: number): boolean {
    return atMs >= this.#warmupMs
  }

  #isInTime(atMs: number): boolean {
    return this.#inTime && atMs < this.arrivalsEndedMs
  }

  #recordTimes(sample: Sample): void {
    const latencyMs = sample.endedMs - sample.intendedMs
    if (isError(sample.outcome)) this.failures.record(latencyMs)
    if (sample.outcome === 'connectionError') return
    this.latency.record(latencyMs)
    this.serviceTime.record(sample.endedMs - sample.sentMs)
  }

  #recordAnswer({ status, instance, outcome }: Sample): void {
    increment(this.statuses, status)
    if (instance === '') return
    const share = this.#shareOf(instance)
    share.requests++
    if (isError(outcome)) share.errors++
  }

  #shareOf(instance: string): { requests: number; errors: number } {
    const name = this.instances.has(instance) || this.instances.size < mostInstances ? instance : '(other)'
    const share = this.instances.get(name) ?? { requests: 0, errors: 0 }
    this.instances.set(name, share)
    return share
  }
}

/** The second that is going on, and how many requests are in flight; emits each second when a later one begins. */
class Second {
  inFlight = 0
  readonly #emit: (point: TimelinePoint) => void
  readonly #latency = new Histogram()
  #atMs = 0
  #sent = 0
  #answered = 0
  #errors = 0

  constructor(emit: (point: TimelinePoint) => void) {
    this.#emit = emit
  }

  sent(sample: Sample): void {
    this.rollTo(sample.sentMs)
    this.#sent++
    this.inFlight++
  }

  ended(sample: Sample): void {
    this.rollTo(sample.endedMs)
    this.inFlight--
    if (hasAnswer(sample)) this.#answered++
    if (isError(sample.outcome)) this.#errors++
    if (sample.outcome !== 'connectionError') this.#latency.record(sample.endedMs - sample.intendedMs)
  }

  rollTo(nowMs: number): void {
    while (nowMs >= this.#atMs + secondMs) {
      this.#emit(this.#point())
      this.#start(this.#atMs + secondMs)
    }
  }

  /** Emits what is left, unless nothing happened since the last full second. */
  finish(): void {
    if (this.#sent > 0 || this.#answered > 0 || this.#latency.count > 0 || this.#errors > 0) this.#emit(this.#point())
  }

  #point(): TimelinePoint {
    const isEmpty = this.#latency.count === 0
    return {
      atMs: this.#atMs,
      sent: this.#sent,
      answered: this.#answered,
      errors: this.#errors,
      p50: isEmpty ? null : this.#latency.percentileMs(50),
      p99: isEmpty ? null : this.#latency.percentileMs(99),
      inFlight: this.inFlight,
    }
  }

  #start(atMs: number): void {
    this.#atMs = atMs
    this.#sent = 0
    this.#answered = 0
    this.#errors = 0
    if (this.#latency.count > 0) this.#latency.reset()
  }
}

const hasAnswer = ({ outcome }: Sample): boolean => outcome === 'ok' || outcome === 'httpError'

const isError = (outcome: Outcome): boolean =>
  outcome === 'httpError' || outcome === 'timeout' || outcome === 'connectionError'

const increment = <Key>(counts: Map<Key, number>, key: Key): void => {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}
