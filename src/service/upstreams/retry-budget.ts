/** Attempts beyond the first that an upstream may be given before there was traffic to earn them. */
export const reserve = 10

/**
 * How many attempts beyond the first an upstream may be given: a share of its requests, and a small reserve. When every
 * request fails, its load grows by that share instead of being multiplied by the number of attempts. It holds what
 * {@link reserve} allows at most, so that quiet hours do not save up for a storm.
 *
 * A token bucket as Finagle's RetryBudget has it (`finagle-core/.../service/RetryBudget.scala`): each request deposits
 * the share, each attempt beyond its first, be it a retry or a hedge, withdraws one. Counted in thousandths, as in gRPC's
 * retry throttling (gRFC A6), for ten deposits of 0.1 make less than 1 in floating point.
 */
export class RetryBudget {
  readonly #deposit: number
  readonly #capacity: number
  #balance: number

  /** `share` is 0 to 1; with 0 there are no further attempts at all. */
  constructor(share: number) {
    this.#deposit = Math.round(share * 1_000)
    this.#capacity = this.#deposit === 0 ? 0 : reserve * 1_000
    this.#balance = this.#capacity
  }

  deposit(): void {
    this.#balance = Math.min(this.#capacity, this.#balance + this.#deposit)
  }

  /** Pays for one attempt; false where the balance does not allow it. */
  withdraw(): boolean {
    if (this.#balance < 1_000) return false
    this.#balance -= 1_000
    return true
  }
}
