import type { ProblemCode } from '../../contract/problems.ts'
import type { Cancellation } from '../../kit/cancellation.ts'
import { Failure } from '../../kit/errors.ts'

export type PlacesOptions = {
  readonly size: number
  /** How many may wait; one more is refused at once. */
  readonly maxWaiting: number
  readonly timeoutMs: number
}

const once = { once: true } as const

/**
 * A fixed number of places and a bounded queue in front of them, the longest waiting first. While a place is free nobody
 * waits. pg's own pool has a queue, too, but one that a request which has gone away cannot leave.
 */
export class Places {
  readonly #options: PlacesOptions
  /** How often one has waited for as long as one may. */
  timeouts = 0
  readonly #waiting = new Set<() => void>()
  #free: number

  constructor(options: PlacesOptions) {
    this.#options = options
    this.#free = options.size
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /** Places that can be had at once. */
  get free(): number {
    return this.#free
  }

  /** Throws `database-busy` where too many wait already for one more to wait. */
  requireRoom(): void {
    const { maxWaiting } = this.#options
    if (this.#free > 0 || this.#waiting.size < maxWaiting) return
    throw busy(`${maxWaiting} requests are waiting for a connection`)
  }

  /**
   * Resolves with a place, to be returned by `giveBack`. Rejects with `database-busy` where too many wait or the wait
   * takes too long, and with `cancel.reason` on abort.
   */
  async take(cancel?: Cancellation): Promise<void> {
    cancel?.throwIfAborted()
    const { timeoutMs } = this.#options
    this.requireRoom()
    if (this.#free > 0) return void this.#free--
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    // Left in the same turn: a place that is given back meanwhile must not go to who will not use it.
    const leave = (why: unknown): void => {
      this.#waiting.delete(resolve)
      reject(why)
    }
    const timer = setTimeout(() => {
      this.timeouts++
      leave(busy(`no connection became free within ${timeoutMs} ms`))
    }, timeoutMs)
    const abort = (): void => leave(cancel?.reason)
    this.#waiting.add(resolve)
    cancel?.addEventListener('abort', abort, once)
    try {
      await promise
    } finally {
      clearTimeout(timer)
      cancel?.removeEventListener('abort', abort)
    }
  }

  giveBack(): void {
    const [next] = this.#waiting
    if (next === undefined) return void this.#free++
    this.#waiting.delete(next)
    next()
  }
}

const busy = (detail: string): Failure<ProblemCode> => new Failure('database-busy', { detail, retryAfterSeconds: 1 })
