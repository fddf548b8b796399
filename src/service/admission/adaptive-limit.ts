export type AdaptiveLimitOptions = {
  /** Never exceeded. */
  readonly maxLimit: number
  /** Where it starts; default `maxLimit`. */
  readonly initialLimit?: number
}

/**
 * Finds how many requests may be in flight at once so that they hardly wait for one another inside the service. By
 * Little's law that is capacity x service time: the least concurrency that uses the whole capacity. It depends on the
 * samples only; it has no clock.
 *
 * A sample is a request that has ended. What it took *beyond what its client asked for* (`?ms=`) is compared with the
 * *baseline*, what that is when nobody waits. The gradient of a window of samples is
 *
 *     gradient = sum(requested + baseline) / sum(duration)        1: nobody waited; 0.5: for as long as the work takes
 *
 * and `concurrency x gradient x 1.25` is the next limit. With c slots and a limit of L >= c the gradient is c/L, so it
 * settles at 1.25 c: all slots are busy, and the wait is a quarter of the work.
 *
 * The models are Netflix' Gradient2 (concurrency-limits, `Gradient2Limit.java`: no growth while less than half of the
 * limit is used) and Envoy's adaptive concurrency (`gradient_controller.cc`: sample windows, a baseline that is measured
 * anew under a lowered limit). What is done otherwise, and why:
 *
 * - The headroom is a share of the limit, not its root: a root is 100 % of a limit of 1 and 3 % of one of 1,000.
 * - A limit is judged by requests that were started under it, once those from before have left, as TCP reacts once in a
 *   round trip. Else those who still wait because of the previous limit would lower the next one, again and again.
 * - A window lasts until its mean is known to an eighth, so that chance moves the limit little, however much durations
 *   vary: 10 samples where they are alike, 64 of an exponential distribution.
 * - It starts at its maximum: with no sign of waiting there is no reason to refuse. The first window with such a sign
 *   takes it to the concurrency that was seen, however far below that is.
 *
 * States:
 *
 * - *judging*: each window moves the limit, or leaves it. Left when the baseline cannot be relied on (`#isStale`), or
 *   when the limit fell and fell and the gradient did not rise: then it is the work that has changed.
 * - *measuring*: the limit is half of the concurrency that was called for, and is halved until two windows in a row
 *   agree; so nobody waits, and they give the new baseline. Left with that for *judging*.
 *
 * Invariants: `1 <= limit <= maxLimit`; all samples of a window were started after the limit was last moved; the limit
 * does not grow while less than half of it is used.
 */
export class AdaptiveLimit {
  readonly #maxLimit: number
  readonly #window: SampleWindow
  #exact: number
  #state: 'judging' | 'measuring' = 'judging'
  /** What a request takes beyond what was asked for, in ms, when nobody waits; undefined before the first window. */
  #baselineMs: number | undefined = undefined
  /** -Infinity: it is a guess, what the first window showed, whatever the load was then. */
  #measuredAtMs = -Infinity
  /** Windows in which nobody seemed to wait, while the baseline is a guess. */
  #held = 0
  /** Windows in a row in which nobody waited although the limit was used. */
  #clear = 0
  /** Windows in a row that called for a lower limit while it was far from used. */
  #doubts = 0
  /** The limit has been lowered, and it is odd if it must go below this; 0: it has not. */
  #oddBelow = 0
  /** While measuring: the window that led to it, and whether the baseline comes from another measurement already. */
  #suspect: Seen | undefined = undefined
  #confirming = false

  constructor({ maxLimit, initialLimit = maxLimit }: AdaptiveLimitOptions) {
    this.#maxLimit = maxLimit
    this.#exact = initialLimit
    this.#window = new SampleWindow()
  }

  /** How many may be in flight, a whole number from 1 to `maxLimit`. */
  get limit(): number {
    return Math.floor(this.#exact)
  }

  /**
   * Takes note of a request that has ended: when, how long it took, how much of that its client asked for, and how many
   * were in flight, itself included.
   */
  sample(nowMs: number, durationMs: number, requestedMs: number, inFlight: number): void {
    const isMeasuring = this.#state === 'measuring'
    this.#window.add(nowMs, durationMs, Math.min(requestedMs, durationMs), Math.min(inFlight, this.limit))
    if (!this.#window.isDone(nowMs, isMeasuring ? measuringPrecision : judgingPrecision)) return
    const seen = this.#window.take(nowMs)
    if (isMeasuring) this.#measure(nowMs, seen)
    else this.#judge(nowMs, seen)
  }

  #judge(nowMs: number, seen: Seen): void {
    this.#baselineMs ??= extraMsOf(seen)
    const gradient = gradientOf(seen, this.#baselineMs)
    if (gradient * headroom >= 1) this.#raise(nowMs, seen, gradient)
    else this.#lower(nowMs, seen, gradient)
  }

  #raise(nowMs: number, seen: Seen, gradient: number): void {
    this.#doubts = this.#oddBelow = 0
    // A queue that goes on growing would have shown itself.
    if (this.#isGuess && ++this.#held >= heldLong) this.#measuredAtMs = nowMs
    if (this.#isUnused(seen)) return
    if (!this.#isGuess && this.#isStale(nowMs, seen)) return this.#startMeasuring(nowMs, seen)
    this.#clear = gradient > 0.95 ? this.#clear + 1 : 0
    this.#move(nowMs, this.#exact * (this.#clear > patience ? 2 : Math.min(gradient * headroom, mostPatientGrowth)))
  }

  #lower(nowMs: number, seen: Seen, gradient: number): void {
    this.#clear = 0
    // Few at once prove nothing, and neither does one slow window: there is no hurry as long as the limit is not used.
    if (this.#isUnused(seen) && (seen.concurrency <= few || ++this.#doubts < 2)) return
    const next = wantedOf(seen, gradient)
    if (next < this.#oddBelow || this.#isStale(nowMs, seen)) return this.#startMeasuring(nowMs, seen)
    if (this.#oddBelow === 0) this.#oddBelow = next * oddShare
    this.#move(nowMs, next)
  }

  #startMeasuring(nowMs: number, seen: Seen): void {
    this.#state = 'measuring'
    this.#suspect = seen
    this.#confirming = !this.#isGuess
    this.#move(nowMs, wantedOf(seen, gradientOf(seen, this.#baselineMs!)) / headroom / 2)
  }

  #measure(nowMs: number, seen: Seen): void {
    const beforeMs = this.#baselineMs!
    this.#baselineMs = extraMsOf(seen)
    const changedMs = Math.abs(this.#baselineMs - beforeMs)
    const agrees = changedMs * seen.count < tolerance * (seen.durationMs + changedMs * seen.count)
    if (this.limit > 1 && !(agrees && this.#confirming)) {
      this.#confirming = true
      return this.#move(nowMs, this.#exact / 2)
    }
    this.#measuredAtMs = nowMs
    this.#state = 'judging'
    this.#oddBelow = 0
    const wanted = wantedOf(this.#suspect!, gradientOf(this.#suspect!, this.#baselineMs))
    this.#move(nowMs, Math.max(this.#exact, wanted))
  }

  get #isGuess(): boolean {
    return this.#measuredAtMs === -Infinity
  }

  /** Whether the baseline is too old, or a guess that matters. */
  #isStale(nowMs: number, { durationMs, count }: Seen): boolean {
    if (this.#isGuess) return this.#baselineMs! * count > tolerance * durationMs
    return nowMs - this.#measuredAtMs > Math.max(baselineAgeMs, (baselineAgeDurations * durationMs) / count)
  }

  #isUnused({ concurrency }: Seen): boolean {
    return concurrency < this.#exact / 2
  }

  #move(nowMs: number, limit: number): void {
    const before = this.limit
    this.#exact = Math.max(1, Math.min(limit, this.#maxLimit))
    if (this.limit !== before) this.#window.restart(nowMs, this.limit)
  }
}

/** Share of the limit by which it exceeds what was in use without a wait. */
const headroom = 1.25
/** At most this much per window at first: a limit of 1 takes some windows to try 2. */
const mostPatientGrowth = 1.06
/** After so many windows without a sign of waiting the limit is far too low, and is doubled with each. */
const patience = 10
/** An unused limit is not lowered for the sake of so few in flight. */
const few = 8
/** One cut can be as deep as it must. If the next ones take the limit below this share of it, they did not help. */
const oddShare = 0.6
/** Windows for which a guessed baseline must hold to be believed. */
const heldLong = 10
/** Baselines that differ by less of the duration are alike. */
const tolerance = 0.12
const baselineAgeMs = 10_000
/** Measuring takes some durations at half of the throughput; at this age that is a percent or two. */
const baselineAgeDurations = 100

/** How many samples a window has at least, and how well their mean must be known: its standard error, as a share. */
type Precision = { readonly samples: number; readonly error: number }

const judgingPrecision: Precision = { samples: 10, error: 1 / 8 }
const measuringPrecision: Precision = { samples: 30, error: 1 / 10 }

const shortestWindowMs = 20
const mostSamples = 1_000

/** What a window has shown; times are sums, in ms. */
type Seen = {
  readonly count: number
  readonly durationMs: number
  readonly requestedMs: number
  /** How many were in flight at most. */
  readonly concurrency: number
  /** From the first end to the last. */
  readonly spanMs: number
}

const extraMsOf = ({ count, durationMs, requestedMs }: Seen): number => (durationMs - requestedMs) / count

const gradientOf = ({ count, durationMs, requestedMs }: Seen, baselineMs: number): number =>
  durationMs === 0 ? 1 : Math.min(1, (requestedMs + count * baselineMs) / durationMs)

const wantedOf = (seen: Seen, gradient: number): number => {
  // Where most of the time is waiting, a queue is growing, longer now than the one that these samples met. Then Little's
  // law says it directly: how much work was done per time.
  const done = (seen.durationMs * gradient * (seen.count - 1)) / seen.count / Math.max(1, seen.spanMs)
  return Math.min(seen.concurrency * gradient, gradient < 0.5 ? done : Infinity) * headroom
}

/**
 * The samples of one window. It counts from when those that were in flight when the limit was moved have left: until as
 * many of the requests that were started since have ended.
 */
class SampleWindow {
  #movedAtMs = -Infinity
  /** How many must end before the window opens. */
  #toSettle = 0
  #startMs = 0
  #firstMs = 0
  #lastMs = 0
  #count = 0
  #durationMs = 0
  #requestedMs = 0
  #squares = 0
  #peak = 0
  #inFlight = 0

  /** The limit was moved: judge it by what comes from now on. */
  restart(nowMs: number, limit: number): void {
    this.#movedAtMs = nowMs
    this.#toSettle = Math.max(1, Math.min(limit, this.#inFlight))
    this.#clear(nowMs)
  }

  add(nowMs: number, durationMs: number, requestedMs: number, inFlight: number): void {
    if (nowMs - durationMs < this.#movedAtMs) return
    this.#inFlight = inFlight
    if (this.#toSettle > 0) return this.#settle(nowMs)
    if (this.#count === 0) this.#firstMs = nowMs
    this.#lastMs = nowMs
    this.#count++
    this.#durationMs += durationMs
    this.#requestedMs += requestedMs
    this.#squares += (durationMs - requestedMs) ** 2
    if (inFlight > this.#peak) this.#peak = inFlight
  }

  isDone(nowMs: number, { samples, error }: Precision): boolean {
    if (this.#count < samples || nowMs - this.#startMs < shortestWindowMs) return false
    if (this.#count >= mostSamples) return true
    const extraMs = this.#durationMs - this.#requestedMs
    const variance = this.#squares / this.#count - (extraMs / this.#count) ** 2
    return variance * this.#count <= (error * this.#durationMs) ** 2
  }

  /** Ends the window, and begins the next. */
  take(nowMs: number): Seen {
    const spanMs = this.#lastMs - this.#firstMs
    const seen = {
      count: this.#count,
      durationMs: this.#durationMs,
      requestedMs: this.#requestedMs,
      concurrency: this.#peak,
      spanMs,
    }
    this.#clear(nowMs)
    return seen
  }

  #settle(nowMs: number): void {
    this.#toSettle--
    if (this.#toSettle === 0) this.#clear(nowMs)
  }

  #clear(nowMs: number): void {
    this.#startMs = nowMs
    this.#count = this.#durationMs = this.#requestedMs = this.#squares = this.#peak = 0
  }
}
