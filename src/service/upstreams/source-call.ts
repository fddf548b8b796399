import type { Clock } from '../../kit/timers.ts'
import { parentHeaders, type Span } from '../../kit/trace.ts'
import { toMicrosecond } from '../../kit/units.ts'
import { attemptSpan, endAttemptSpan } from './attempt-span.ts'
import { backoffMs } from './backoff.ts'
import type { Breaker, Pass } from './breaker.ts'
import { type CallStatus, errorTypeOfOutcome, type UpstreamMeter } from './meter.ts'
import type { RetryBudget } from './retry-budget.ts'
import type { Abort, Outcome, Target, Transport } from './transport.ts'
import { type Ending, judge, type Verdict } from './verdict.ts'

/** An upstream and what this process remembers of it. */
export type Upstream = {
  readonly name: string
  readonly target: () => Target
  readonly breaker: Breaker
  readonly budget: RetryBudget
  /** Attempts at one time, at most: one that hangs does not take all connections of the process. */
  readonly connections: number
  /** Those that hold a connection, also one that is still being made for an attempt that was aborted. */
  underWay: number
  /** `attempts` = first ones + `retries` + `hedges`; a call that meets an open circuit has none. */
  readonly counts: { calls: number; attempts: number; retries: number; hedges: number }
  readonly meter: UpstreamMeter
}

/** What all calls of one aggregation have in common. */
export type Terms = {
  readonly transport: Transport
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** At most, hedged ones included. */
  readonly attempts: number
  /** 0: no hedged requests. */
  readonly hedgeAfterMs: number
  readonly allowedMs: number
  /** The request's deadline leaves less than an upstream is otherwise granted: to be late then is no fault of its. */
  readonly hurried: boolean
  /** Its value is set anew for each attempt: the time that is left. */
  readonly deadlineHeader: string
  /** As a flat list of name, value. */
  readonly headers: readonly string[]
  /** What attempts are parts of; undefined: they are not recorded. */
  readonly span: Span | undefined
  /** The trace that upstreams shall join where attempts are not recorded; a flat list of headers. */
  readonly context: readonly string[]
}

/** The end of a source's call, and what it took. */
export type CallResult = Ending & {
  readonly tookMs: number
  readonly attempts: number
  readonly hedged: boolean
}

export type SourceResult = CallResult & { readonly name: string }

type Attempt = { readonly pass: Pass; readonly startMs: number; readonly span: Span | undefined; abort: Abort }

/**
 * One source's part of an aggregation: attempts until one brings an answer that counts, the time is over, or no further
 * one may be made.
 *
 * - waiting: `#underWay` has one attempt, or two, of which one is a hedge; the first good answer ends both. `#next` is
 *   the timer of the hedge, until it has been sent.
 * - backing off: `#underWay` is empty, and `#next` is the timer of the retry.
 * - ended: no attempt, no timer.
 *
 * Retries and hedges need the breaker's and the budget's leave. The hedge goes back to J. Dean and L. A. Barroso, The
 * Tail at Scale, CACM 56(2), 2013: against the few slow answers, a second request after most would have come.
 */
export class SourceCall {
  readonly #upstream: Upstream
  readonly #terms: Terms
  readonly #startMs: number
  readonly #underWay = new Set<Attempt>()
  #settle: (result: SourceResult) => void = () => {}
  #timeout: unknown = undefined
  #next: unknown = undefined
  #attempts = 0
  #hedged = false
  #ended = false

  constructor(upstream: Upstream, terms: Terms) {
    this.#upstream = upstream
    this.#terms = terms
    this.#startMs = terms.clock.now()
  }

  /** To be called once. The promise stays open when the call is abandoned. */
  run(): Promise<SourceResult> {
    return new Promise((resolve) => {
      this.#settle = resolve
      this.#start()
    })
  }

  /** Ends it at once, without a result. */
  abandon(): void {
    if (!this.#ended) this.#count('abandoned')
    this.#stop((pass) => this.#upstream.breaker.abandon(pass), 'cancelled')
  }

  get #hasRoom(): boolean {
    return this.#upstream.underWay < this.#upstream.connections
  }

  get #leftMs(): number {
    const { clock, allowedMs } = this.#terms
    return this.#startMs + allowedMs - clock.now()
  }

  #start(): void {
    const { breaker, budget, counts } = this.#upstream
    const { clock, allowedMs } = this.#terms
    counts.calls += 1
    if (!breaker.admits(clock.now())) return this.#end(circuitOpen)
    if (!this.#hasRoom) return this.#end(allInUse(this.#upstream))
    budget.deposit()
    this.#timeout = clock.setTimeout(() => this.#timeOut(), allowedMs)
    this.#send()
  }

  #send(): void {
    this.#attempt()
    const { hedgeAfterMs, clock } = this.#terms
    if (hedgeAfterMs === 0 || this.#underWay.size === 0) return
    this.#next = clock.setTimeout(() => this.#hedge(), hedgeAfterMs)
  }

  #hedge(): void {
    if (!this.#mayAttempt()) return
    this.#hedged = true
    this.#upstream.counts.hedges += 1
    this.#attempt()
  }

  #attempt(): void {
    const { transport, headers, deadlineHeader, context } = this.#terms
    const target = this.#upstream.target()
    const attempt = this.#newAttempt(target)
    this.#underWay.add(attempt)
    const left = String(Math.max(1, Math.floor(this.#leftMs)))
    const joined = attempt.span === undefined ? context : parentHeaders(attempt.span)
    const land = (outcome: Outcome): void => this.#land(attempt, outcome)
    attempt.abort = transport.get(target, [...headers, deadlineHeader, left, ...joined], land)
  }

  #newAttempt(target: Target): Attempt {
    const { breaker, counts, name } = this.#upstream
    const { span: parent, clock } = this.#terms
    const span = parent === undefined ? undefined : attemptSpan(parent, name, target, this.#attempts)
    this.#attempts += 1
    counts.attempts += 1
    this.#upstream.underWay += 1
    return { pass: breaker.enter(), startMs: clock.now(), span, abort: () => {} }
  }

  #told({ startMs, span }: Attempt, errorType: string, outcome?: Outcome): void {
    this.#upstream.meter.attemptEnded(this.#terms.clock.now() - startMs, errorType)
    if (span !== undefined) endAttemptSpan(span, outcome, errorType)
  }

  #count(status: CallStatus): void {
    this.#ended = true
    this.#upstream.meter.calls[status] += 1
  }

  #land(attempt: Attempt, outcome: Outcome): void {
    this.#underWay.delete(attempt)
    this.#upstream.underWay -= 1
    this.#told(attempt, errorTypeOfOutcome(outcome), outcome)
    const verdict = judge(outcome)
    this.#tellBreaker(attempt.pass, verdict)
    if (!verdict.retryable) this.#end(verdict.ending)
    else if (this.#underWay.size === 0) this.#retry(verdict)
    // Otherwise the other attempt may still bring it.
  }

  #tellBreaker(pass: Pass, { healthy, ending }: Verdict): void {
    const { breaker } = this.#upstream
    if (healthy) breaker.succeed(pass)
    else this.#failed(pass, ending.status === 'timeout')
  }

  #failed(pass: Pass, late: boolean): void {
    const { breaker } = this.#upstream
    if (late && this.#terms.hurried) breaker.abandon(pass)
    else breaker.fail(pass, this.#terms.clock.now())
  }

  #retry({ ending, retryAfterMs }: Verdict): void {
    const { clock, random } = this.#terms
    clock.clearTimeout(this.#next as never)
    const delayMs = Math.max(backoffMs(this.#attempts, random), retryAfterMs)
    if (delayMs >= this.#leftMs || !this.#mayAttempt()) return this.#end(ending)
    this.#next = clock.setTimeout(() => this.#sendAgain(ending), delayMs)
  }

  #sendAgain(before: Ending): void {
    const { breaker, counts } = this.#upstream
    // Meanwhile it may have opened, by what others met, or they may have taken all connections.
    if (!breaker.admits(this.#terms.clock.now()) || !this.#hasRoom) return this.#end(before)
    counts.retries += 1
    this.#send()
  }

  /** Whether one more attempt may be made; if so, it is paid for. */
  #mayAttempt(): boolean {
    const { breaker, budget } = this.#upstream
    const { attempts, clock } = this.#terms
    const possible = this.#attempts < attempts && this.#hasRoom && breaker.admits(clock.now())
    return possible && budget.withdraw()
  }

  #timeOut(): void {
    this.#stop((pass) => this.#failed(pass, true), 'timeout')
    this.#end({ status: 'timeout', detail: `no answer within ${Math.round(this.#terms.allowedMs)} ms` })
  }

  #end(ending: Ending): void {
    this.#count(ending.status)
    this.abandon()
    const tookMs = toMicrosecond(this.#terms.clock.now() - this.#startMs)
    const { name } = this.#upstream
    this.#settle({ ...ending, name, tookMs, attempts: this.#attempts, hedged: this.#hedged })
  }

  /** Aborts what is under way and tells the breaker of each; `why` it is told in spans and metrics. */
  #stop(tell: (pass: Pass) => void, why: 'cancelled' | 'timeout'): void {
    const { clock } = this.#terms
    clock.clearTimeout(this.#timeout as never)
    clock.clearTimeout(this.#next as never)
    const attempts = [...this.#underWay]
    this.#underWay.clear()
    for (const attempt of attempts) {
      attempt.abort(() => (this.#upstream.underWay -= 1))
      tell(attempt.pass)
      this.#told(attempt, why)
    }
  }
}

const allInUse = ({ connections }: Upstream): Ending => ({
  status: 'refused',
  detail: `not called: all ${connections} connections to it are in use`,
})

const circuitOpen: Ending = { status: 'circuit-open', detail: 'not called: it failed too often just now' }
