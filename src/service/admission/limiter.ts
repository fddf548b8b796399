import { Queue, type QueueOrder, type Rank, Waiting } from './queue.ts'

export type LimiterOptions = {
  /** How many may be in flight at once; at least 1. */
  readonly maxInFlight: number
  /** How many may wait for that, of all priorities together; 0: none. */
  readonly queueLength: number
  /** How long one may wait. */
  readonly queueTimeoutMs: number
  /** Which of those of one priority is next: the one that waited longest, or the one that came last. */
  readonly queueOrder: QueueOrder
}

/**
 * Decides which requests are served, wait, or are shed. It knows no HTTP, starts nothing itself and has no clock: who
 * uses it says what happened and when, and acts on the answer. Every operation takes constant time.
 *
 * A request is in one of these states:
 *
 * - *in flight*: entered by `admit`, or from the queue by `next`; left by `release`.
 * - *queued*: entered by `enqueue`; left by `next` (it is in flight now), `expire` (it waited too long), `withdraw` (its
 *   client has gone), or by the `enqueue` of another that takes its place.
 * - *ended*: released, expired, withdrawn, displaced, or shed on arrival. Each request ends exactly once.
 *
 * Invariants:
 *
 * - Nothing is started while `inFlight >= limit`; `inFlight` exceeds it only after the limit was lowered.
 * - Sheddable requests do not get the last tenth of the slots, so that one is free when a critical one arrives. With a
 *   limit of 1 there is nothing to keep free.
 * - `queued <= queueLength`, and it is the sum of the queues' lengths.
 * - Nothing is started past one of its own or a higher priority that waits and could be started, too.
 */
export class Limiter<Entry extends Waiting> {
  readonly #options: LimiterOptions
  readonly #queues: readonly [Queue<Entry>, Queue<Entry>, Queue<Entry>] = [new Queue(), new Queue(), new Queue()]
  #limit = 1
  /** Slots that sheddable requests may use. */
  #sheddableLimit = 1
  #inFlight = 0
  #queued = 0

  constructor(options: LimiterOptions) {
    this.#options = options
    this.setLimit(options.maxInFlight)
  }

  get limit(): number {
    return this.#limit
  }

  get inFlight(): number {
    return this.#inFlight
  }

  get queued(): number {
    return this.#queued
  }

  /** When the one that waited longest will have waited too long; Infinity when none waits. */
  get expiresAtMs(): number {
    return (this.#longestWaiting()?.queuedAtMs ?? Infinity) + this.#options.queueTimeoutMs
  }

  /** Sets how many may be in flight; bounded by 1 and `maxInFlight`. What is in flight stays so. */
  setLimit(limit: number): void {
    this.#limit = Math.max(1, Math.min(limit, this.#options.maxInFlight))
    this.#sheddableLimit = Math.max(1, this.#limit - Math.ceil(this.#limit * reservedShare))
  }

  /** Takes a slot for one that arrives. False: there is none for it now; it may be queued. */
  admit(rank: Rank): boolean {
    if (!this.#hasSlot(rank) || (this.#queued > 0 && this.#someWait(rank))) return false
    this.#inFlight++
    return true
  }

  /**
   * Lets one wait that was not admitted. Returns who is shed for it: nobody, or, with a full queue, either the newest of
   * the lowest priority below its own, or itself.
   */
  enqueue(entry: Entry, nowMs: number): Entry | undefined {
    const full = this.#queued >= this.#options.queueLength
    const shed = full ? this.#lowestBelow(entry.rank) : undefined
    if (full && shed === undefined) return entry
    if (shed !== undefined) this.withdraw(shed)
    this.#queues[entry.rank].push(entry, nowMs)
    this.#queued++
    return shed
  }

  /** One has ended that was in flight. */
  release(): void {
    this.#inFlight--
  }

  /** Takes a slot for the one that is to start now; undefined when none waits, or none has a slot. */
  next(): Entry | undefined {
    if (this.#queued === 0) return undefined
    for (const queue of this.#queues) {
      const entry = this.#options.queueOrder === 'fifo' ? queue.oldest : queue.newest
      if (entry === undefined) continue
      if (!this.#hasSlot(entry.rank)) return undefined
      this.withdraw(entry)
      this.#inFlight++
      return entry
    }
    return undefined
  }

  /** Takes one from the queue that has waited too long; call it until it returns undefined. */
  expire(nowMs: number): Entry | undefined {
    const entry = this.#longestWaiting()
    if (entry === undefined || nowMs < entry.queuedAtMs + this.#options.queueTimeoutMs) return undefined
    this.withdraw(entry)
    return entry
  }

  /** Takes one from the queue wherever it stands. False: it does not wait (any more). */
  withdraw(entry: Entry): boolean {
    if (entry.queue === undefined) return false
    entry.queue.remove(entry)
    this.#queued--
    return true
  }

  #hasSlot(rank: Rank): boolean {
    return this.#inFlight < (rank === 2 ? this.#sheddableLimit : this.#limit)
  }

  #someWait(rank: Rank): boolean {
    for (let i = 0; i <= rank; i++) if (this.#queues[i]!.length > 0) return true
    return false
  }

  #lowestBelow(rank: Rank): Entry | undefined {
    for (let i = 2; i > rank; i--) if (this.#queues[i]!.length > 0) return this.#queues[i]!.newest
    return undefined
  }

  #longestWaiting(): Entry | undefined {
    let longest: Entry | undefined
    for (const { oldest } of this.#queues) {
      if (oldest !== undefined && !(longest !== undefined && longest.queuedAtMs <= oldest.queuedAtMs)) longest = oldest
    }
    return longest
  }
}

/** Slots that only normal and critical requests get. */
const reservedShare = 0.1
