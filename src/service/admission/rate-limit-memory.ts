import { gcra, type GcraLimit, type GcraVerdict } from './gcra.ts'

type Bucket = { tatMs: number }

/** A generation is not ended before this, however short the memory of a bucket is. */
const shortestGenerationMs = 1_000

/**
 * The buckets of clients, in the memory of one process; at most `maxClients` of them.
 *
 * They live in two generations. A client that comes has its bucket in the current one, brought over from the previous
 * one where it was there. A generation ends, and becomes the previous one, when
 *
 * - it is as old as a bucket takes to be full again: what is then dropped is full, and so is that of a new client; or
 * - it has half of `maxClients`. Only then is something forgotten: who has been away the longest.
 *
 * So a flood of addresses neither grows the memory nor costs a look at each of them.
 */
export class MemoryBuckets {
  readonly #limit: GcraLimit
  readonly #largest: number
  readonly #generationMs: number
  #current = new Map<string, Bucket>()
  #previous = new Map<string, Bucket>()
  #turnedAtMs = -Infinity

  constructor(limit: GcraLimit, maxClients: number) {
    this.#limit = limit
    this.#largest = Math.ceil(maxClients / 2)
    // One more than the burst: a TAT may be ahead by the tolerance, too.
    this.#generationMs = Math.max((limit.burst + 1) * limit.emissionMs, shortestGenerationMs)
  }

  /** Counts a request of a client. */
  take(client: string, nowMs: number): GcraVerdict {
    const bucket = this.#bucket(client, nowMs)
    const verdict = gcra(bucket.tatMs, nowMs, this.#limit)
    bucket.tatMs = verdict.tatMs
    return verdict
  }

  /** Clients that are remembered. */
  get size(): number {
    return this.#current.size + this.#previous.size
  }

  #bucket(client: string, nowMs: number): Bucket {
    if (nowMs - this.#turnedAtMs >= this.#generationMs) this.#turn(nowMs)
    const known = this.#current.get(client)
    if (known !== undefined) return known
    if (this.#current.size >= this.#largest) this.#turn(nowMs)
    const bucket = this.#previous.get(client) ?? { tatMs: nowMs }
    this.#previous.delete(client)
    this.#current.set(client, bucket)
    return bucket
  }

  #turn(nowMs: number): void {
    this.#previous = this.#current
    this.#current = new Map()
    this.#turnedAtMs = nowMs
  }
}
