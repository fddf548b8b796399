export type BreakerState = 'closed' | 'open' | 'half-open'

/** The leave for one attempt, to be given back with how it went. */
export type Pass = { readonly generation: number }

export type BreakerOptions = {
  /** Attempts that must fail one after the other to open it. */
  readonly failures: number
  /** How long it then stays open, at least. */
  readonly openMs: number
}

/**
 * A circuit breaker: keeps requests from an upstream that fails all of them, for their sake and for its own.
 *
 * - closed: attempts pass; `failures` failed ones in a row open it.
 * - open: none pass for `openMs`; the first one after that is a trial and makes it half-open.
 * - half-open: none pass beside the trial. Its success closes, its failure opens. A trial that ends without a verdict
 *   leaves it open with its time over, so that the next attempt is the trial.
 *
 * `#generation` counts the changes of state. A pass of an earlier generation tells of an earlier state, and is not heard
 * (after Sony's gobreaker): what was sent before it opened cannot decide the trial.
 *
 * Not cockatiel's, whose half-open state makes all others wait for the trial, which takes a hanging upstream's whole
 * timeout; which knows only success and failure, where an attempt that we abort is neither; and which reads the wall clock.
 */
export class Breaker {
  readonly #options: BreakerOptions
  #state: BreakerState = 'closed'
  #generation = 0
  /** In a row, while closed. */
  #failures = 0
  #openUntilMs = 0

  constructor(options: BreakerOptions) {
    this.#options = options
  }

  get state(): BreakerState {
    return this.#state
  }

  /** Whether an attempt may be made now. */
  admits(nowMs: number): boolean {
    return this.#state === 'closed' || (this.#state === 'open' && nowMs >= this.#openUntilMs)
  }

  /** Takes the leave for an attempt that it admits. */
  enter(): Pass {
    if (this.#state === 'open') this.#become('half-open')
    return { generation: this.#generation }
  }

  succeed({ generation }: Pass): void {
    if (generation !== this.#generation) return
    this.#failures = 0
    if (this.#state === 'half-open') this.#become('closed')
  }

  fail({ generation }: Pass, nowMs: number): void {
    if (generation !== this.#generation) return
    this.#failures += 1
    if (this.#state === 'closed' && this.#failures < this.#options.failures) return
    this.#openUntilMs = nowMs + this.#options.openMs
    this.#become('open')
  }

  /** The attempt was aborted for reasons that say nothing of the upstream. */
  abandon({ generation }: Pass): void {
    if (generation === this.#generation && this.#state === 'half-open') this.#become('open')
  }

  #become(state: BreakerState): void {
    this.#state = state
    this.#generation += 1
    this.#failures = 0
  }
}
