import { bounds } from '../../contract/metrics.ts'
import { Buckets } from '../../kit/metrics.ts'
import type { Clock } from '../../kit/timers.ts'
import { type Collected, single } from './collect.ts'

/** What the event loop did since it began to turn, in ms. */
export type LoopTime = { readonly idle: number; readonly active: number }

export type LoopMetricsOptions = {
  readonly worker: number
  readonly clock: Clock
  /** Default: that of this thread. */
  readonly loopTime?: () => LoopTime
}

const tickMs = 20
const lookMs = 1_000
/** The gauge of utilisation is about the time since the oldest of so many looks: the last 5 to 6 s. */
const looksKept = 6

/**
 * Watches the event loop. Something is due each 20 ms, and how late the loop comes to it is the delay. Who blocks the loop
 * for 3 s makes all wait that would have come in that time: each tick that was missed counts with its own delay, as one
 * request each 20 ms would. Not started, it tells totals only.
 */
export class LoopMetrics implements Disposable {
  readonly #worker: number
  readonly #clock: Clock
  readonly #loopTime: () => LoopTime
  readonly #delays = new Buckets(bounds.eventLoopDelay)
  readonly #looks: LoopTime[] = []
  #lookedAtMs = 0
  #dueMs = 0
  #timer: unknown

  constructor({ worker, clock, loopTime = () => performance.eventLoopUtilization() }: LoopMetricsOptions) {
    this.#worker = worker
    this.#clock = clock
    this.#loopTime = loopTime
  }

  start(): void {
    const nowMs = this.#clock.now()
    this.#look(nowMs)
    this.#wait(nowMs)
  }

  [Symbol.dispose](): void {
    this.#clock.clearTimeout(this.#timer as never)
    this.#timer = undefined
  }

  collect(): Collected {
    const worker = this.#worker
    const { idle, active } = this.#loopTime()
    const time = (state: string, ms: number) => ({
      labels: { nodejs_eventloop_state: state, worker },
      value: ms / 1_000,
    })
    return {
      nodejs_eventloop_time_seconds_total: [time('idle', idle), time('active', active)],
      nodejs_eventloop_utilization_ratio: single(this.#utilization({ idle, active }), { worker }),
      plimsoll_eventloop_delay_seconds: this.#delays.samples('plimsoll_eventloop_delay_seconds', { worker }),
    }
  }

  readonly #tick = (): void => {
    const nowMs = this.#clock.now()
    // A timer's milliseconds are whole ones: it may be early by a part of one.
    let lateMs = Math.max(0, nowMs - this.#dueMs)
    for (; lateMs >= tickMs; lateMs -= tickMs) this.#delays.observe(lateMs / 1_000)
    this.#delays.observe(lateMs / 1_000)
    if (nowMs - this.#lookedAtMs >= lookMs) this.#look(nowMs)
    this.#wait(nowMs)
  }

  #wait(nowMs: number): void {
    this.#dueMs = nowMs + tickMs
    this.#timer = this.#clock.setTimeout(this.#tick, tickMs)
    // Nobody shall wait for the process because of it.
    ;(this.#timer as { unref?: () => void }).unref?.()
  }

  #look(nowMs: number): void {
    this.#lookedAtMs = nowMs
    this.#looks.push(this.#loopTime())
    if (this.#looks.length > looksKept) this.#looks.shift()
  }

  #utilization({ idle, active }: LoopTime): number {
    const since = this.#looks[0] ?? { idle: 0, active: 0 }
    const activeMs = active - since.active
    const allMs = activeMs + idle - since.idle
    return allMs > 0 ? activeMs / allMs : 0
  }
}
