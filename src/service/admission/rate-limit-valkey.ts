import type { Script, Valkey } from '../valkey.ts'
import { gcraLua, type GcraLimit, type GcraVerdict, gcraVerdict, serverNowLua } from './gcra.ts'

const take: Script = { lua: gcraLua(serverNowLua) }

const prefix = 'plimsoll:rate-limit:'

/** The buckets of clients in Valkey, shared by all replicas. */
export class SharedBuckets {
  readonly #valkey: Valkey
  readonly #limit: GcraLimit
  readonly #args: readonly string[]

  constructor(valkey: Valkey, limit: GcraLimit) {
    this.#valkey = valkey
    this.#limit = limit
    this.#args = [String(limit.emissionMs), String(limit.burst)]
  }

  /** Counts a request of a client. Rejects as `Valkey.script` does; the TAT stays with the server. */
  async take(client: string): Promise<GcraVerdict> {
    const [allowed, ahead] = (await this.#valkey.script(take, [prefix + client], this.#args)) as [number, string]
    return gcraVerdict(allowed === 1, Number(ahead), 0, this.#limit)
  }
}
