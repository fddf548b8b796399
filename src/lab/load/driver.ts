import type { Outcome } from '../../contract/run-result.ts'
import type { Clock } from '../../kit/clock.ts'
import type { Schedule } from './schedule.ts'
import type { Attempt, Reply, Transport } from './transport.ts'

/** One request; times are in ms since the start of the run. */
export type Sample = {
  /** When the schedule wanted it. */
  readonly intendedMs: number
  /** When it was handed to the transport. */
  readonly sentMs: number
  /** When its last byte arrived or it was given up; NaN until then. */
  readonly endedMs: number
  readonly outcome: Outcome
  /** 0 without an answer. */
  readonly status: number
  /** Who answered; empty when not known. */
  readonly instance: string
  /** Why there was no answer; empty when there was one or the time was up. */
  readonly error: string
}

/** Is told everything that happens in a run, in the order of time. */
export type RunObserver = {
  sent(sample: Sample): void
  ended(sample: Sample): void
  /** An arrival was due, but as many requests were unanswered as are allowed. */
  missed(intendedMs: number): void
  /** The driver runs, `lateMs` after it asked to. Happens many times a second, whatever the rate. */
  ticked(nowMs: number, lateMs: number): void
  /** No arrivals follow. */
  arrivalsEnded(atMs: number): void
}

export type DriveOptions = {
  readonly schedule: Schedule
  /** When the time for arrivals is over, even if the last one came long before. */
  readonly endMs: number
  readonly transport: Transport
  /** How many targets the transport has; they are used in turn. */
  readonly targets: number
  readonly timeoutMs: number
  readonly maxInFlight: number
  readonly observer: RunObserver
  readonly clock: Clock
  /** Ends the run early; what is under way then gets `interruptGraceMs` to finish. */
  readonly signal?: AbortSignal
}

export type DriveEnd = { readonly interrupted: boolean }

/** How long an interrupted run waits for answers: short, because somebody waits at the keyboard. */
export const interruptGraceMs = 1_000

/** The driver runs at least this often, to see time-outs, interruptions and its own stalls. */
const heartbeatMs = 20

/**
 * Sends every arrival of the schedule when it is due and waits for the answers. Resolves when each request has ended.
 * An arrival never waits for an answer. After the last one, requests have their whole time-out to finish.
 */
export const drive = (options: DriveOptions): Promise<DriveEnd> => new Driver(options).run()

type State = 'sending' | 'draining' | 'done'

/**
 * States: `sending`, from the start until the time for arrivals is over or the signal aborts; `draining`, until
 * nothing is in flight or the grace of an interrupted run is over, when the rest is censored; `done`.
 *
 * Invariants: requests in flight form a list in the order of their sending, so the oldest is the first to time out;
 * `#inFlight` is its length and at most `maxInFlight`; `#nextMs` is the first arrival not yet sent or missed;
 * `#wakeMs` is when the only pending wake-up was asked for; times are since `#startMs`.
 */
class Driver {
  readonly #options: DriveOptions
  readonly #startMs: number
  #state: State = 'sending'
  #interrupted = false
  #nextMs: number
  #wakeMs = 0
  #drainUntilMs = Infinity
  #nextTarget = 0
  #inFlight = 0
  #oldest: Exchange | undefined
  #newest: Exchange | undefined
  #finish: (end: DriveEnd) => void = () => undefined

  constructor(options: DriveOptions) {
    this.#options = options
    this.#nextMs = options.schedule.next()
    this.#startMs = options.clock.now()
  }

  run(): Promise<DriveEnd> {
    return new Promise((resolve) => {
      this.#finish = resolve
      this.#wakeAt(0)
    })
  }

  /** Called by an exchange that has ended by itself. */
  settle(exchange: Exchange, outcome: Outcome): void {
    this.#unlink(exchange)
    exchange.endedMs = this.#now()
    exchange.outcome = outcome
    this.#options.observer.ended(exchange)
  }

  readonly #tick = (): void => {
    // The clock does not wake early, but adding and subtracting the start may round to a moment before.
    const nowMs = Math.max(this.#now(), this.#wakeMs)
    const lateMs = nowMs - this.#wakeMs
    this.#expire(nowMs)
    if (this.#state === 'sending') this.#send(nowMs)
    if (this.#state === 'draining') this.#drain(nowMs)
    this.#options.observer.ticked(nowMs, lateMs)
    if (this.#state === 'done') this.#finish({ interrupted: this.#interrupted })
    else this.#wakeAt(Math.min(this.#dueMs(), nowMs + heartbeatMs))
  }

  #send(nowMs: number): void {
    if (this.#options.signal?.aborted) return this.#endArrivals(nowMs, true)
    // Only what is due by now: the answers must have their turn even when the generator cannot keep up.
    while (this.#nextMs <= nowMs) {
      if (this.#inFlight < this.#options.maxInFlight) this.#sendOne(this.#nextMs)
      else this.#options.observer.missed(this.#nextMs)
      this.#nextMs = this.#options.schedule.next()
    }
    if (nowMs >= this.#options.endMs) this.#endArrivals(nowMs, false)
  }

  #sendOne(intendedMs: number): void {
    const exchange = new Exchange(this, intendedMs, this.#now())
    this.#append(exchange)
    this.#options.observer.sent(exchange)
    exchange.attempt = this.#options.transport.send(this.#nextTarget, exchange)
    this.#nextTarget = (this.#nextTarget + 1) % this.#options.targets
  }

  #endArrivals(nowMs: number, interrupted: boolean): void {
    this.#state = 'draining'
    this.#nextMs = Infinity
    this.#interrupt(nowMs, interrupted)
    this.#options.observer.arrivalsEnded(nowMs)
  }

  #drain(nowMs: number): void {
    if (!this.#interrupted) this.#interrupt(nowMs, this.#options.signal?.aborted === true)
    if (nowMs >= this.#drainUntilMs) while (this.#oldest !== undefined) this.#giveUp(this.#oldest, 'censored')
    if (this.#inFlight === 0) this.#state = 'done'
  }

  #interrupt(nowMs: number, interrupted: boolean): void {
    this.#interrupted = interrupted
    if (interrupted) this.#drainUntilMs = nowMs + interruptGraceMs
  }

  #expire(nowMs: number): void {
    while (this.#oldest !== undefined && nowMs >= this.#oldest.sentMs + this.#options.timeoutMs) {
      this.#giveUp(this.#oldest, 'timeout')
    }
  }

  #giveUp(exchange: Exchange, outcome: 'timeout' | 'censored'): void {
    exchange.attempt?.abandon()
    this.settle(exchange, outcome)
  }

  #dueMs(): number {
    const expiresMs = this.#oldest === undefined ? Infinity : this.#oldest.sentMs + this.#options.timeoutMs
    return Math.min(this.#nextMs, expiresMs, this.#state === 'sending' ? this.#options.endMs : this.#drainUntilMs)
  }

  #now(): number {
    return this.#options.clock.now() - this.#startMs
  }

  #wakeAt(atMs: number): void {
    this.#wakeMs = atMs
    this.#options.clock.wakeAt(this.#startMs + atMs, this.#tick)
  }

  #append(exchange: Exchange): void {
    exchange.older = this.#newest
    if (this.#newest === undefined) this.#oldest = exchange
    else this.#newest.newer = exchange
    this.#newest = exchange
    this.#inFlight++
  }

  #unlink({ older, newer }: Exchange): void {
    if (older === undefined) this.#oldest = newer
    else older.newer = newer
    if (newer === undefined) this.#newest = older
    else newer.older = older
    this.#inFlight--
  }
}

/** A sample in the making: a request under way, and its place among those in flight. Censored unless it ends. */
class Exchange implements Sample, Reply {
  readonly #driver: Driver
  readonly intendedMs: number
  readonly sentMs: number
  endedMs = Number.NaN
  outcome: Outcome = 'censored'
  status = 0
  instance = ''
  error = ''
  attempt: Attempt | undefined
  older: Exchange | undefined
  newer: Exchange | undefined

  constructor(driver: Driver, intendedMs: number, sentMs: number) {
    this.#driver = driver
    this.intendedMs = intendedMs
    this.sentMs = sentMs
  }

  answered(outcome: 'ok' | 'httpError', status: number, instance: string): void {
    this.status = status
    this.instance = instance
    this.#driver.settle(this, outcome)
  }

  failed(code: string): void {
    this.error = code
    this.#driver.settle(this, 'connectionError')
  }
}
