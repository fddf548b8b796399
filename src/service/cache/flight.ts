import type { Cancellation } from '../../kit/cancellation.ts'

/**
 * One piece of work and those who wait for it. A caller that is cancelled leaves; the work goes on for the others, and
 * stops when the last one has left. Work that nobody has waited for runs to its end.
 */
export class Flight<Result> {
  readonly #controller = new AbortController()
  readonly #onDeserted: () => void
  readonly #landed: Promise<Result>
  #waiting = 0

  /** Starts `work` at once. `onDeserted` is told when the last caller has left, before the work is told to stop. */
  constructor(work: (cancel: Cancellation) => Promise<Result>, onDeserted: () => void) {
    this.#onDeserted = onDeserted
    this.#landed = work(this.#controller.signal)
    // Where all have left, nobody is there to hear of an error.
    this.#landed.catch(() => {})
  }

  /** Waits for the result until `cancel`, whose reason is then thrown. */
  join(cancel: Cancellation | undefined): Promise<Result> {
    this.#waiting++
    if (cancel === undefined) return this.#landed
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        reject(cancel.reason)
        this.#leave(cancel.reason)
      }
      cancel.addEventListener('abort', leave, { once: true })
      this.#landed.then(resolve, reject).finally(() => cancel.removeEventListener('abort', leave))
    })
  }

  #leave(reason: unknown): void {
    this.#waiting--
    if (this.#waiting > 0) return
    this.#onDeserted()
    this.#controller.abort(reason)
  }
}
