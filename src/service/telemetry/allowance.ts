/** How many of something may be told: so many a second, and a burst of some after a pause. A token bucket. */
export class Allowance {
  readonly #perMs: number
  readonly #burst: number
  #left: number
  #sinceMs = 0

  constructor(perSecond: number, burst: number) {
    this.#perMs = perSecond / 1_000
    this.#burst = burst
    this.#left = burst
  }

  take(nowMs: number): boolean {
    this.#left = Math.min(this.#burst, this.#left + (nowMs - this.#sinceMs) * this.#perMs)
    this.#sinceMs = nowMs
    if (this.#left < 1) return false
    this.#left--
    return true
  }
}
