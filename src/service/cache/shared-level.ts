import type { Cancellation } from '../../kit/cancellation.ts'
import type { Script, Valkey } from '../valkey.ts'
import type { Loaded, LoadMany } from './cache.ts'

export type SharedLevelOptions = {
  readonly valkey: Pick<Valkey, 'script' | 'command'>
  /** Before every key. It names the kind of value and its form: replicas of two releases may run at once. */
  readonly prefix: string
  readonly ttlMs: number
  /** Makes a name that nobody else has, in this process or another. */
  readonly token: () => string
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** Whether what the store has under a key may be from before a change. */
  readonly isSuspect: (key: string) => boolean
}

/** Longer than nearly every load takes. A lease that has expired costs one value its place in the store, no more. */
const leaseMs = 3_000

// Under a key stands `=` and the value as JSON, or `?` and the token of the lease of who is loading it.
const valueMark = '='
const leaseMark = '?'

/** KEYS; ARGV: lease, its ms. Leases the keys under which nothing stands; gives what then stands there, and for how many ms. */
const take: Script = {
  lua: `local answer = {}
for i, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  if not held then
    held = ARGV[1]
    redis.call('SET', key, held, 'PX', ARGV[2])
  end
  answer[2 * i - 1] = held
  answer[2 * i] = redis.call('PTTL', key)
end
return answer`,
}

/** KEYS; ARGV: lease, ms, a value for each key or nothing. Ends the leases that still stand, with a value where there is one. */
const fill: Script = {
  lua: `for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then
    local value = ARGV[i + 2]
    if value == '' then redis.call('DEL', key) else redis.call('SET', key, value, 'PX', ARGV[2]) end
  end
end`,
}

/**
 * The level of the cache that replicas share, in Valkey. A reader that misses takes a lease; what it then loads is stored
 * only where the lease still stands. A change deletes value and lease, so that no load from before it can be stored
 * after it: the leases of Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013, section 3.2.1.
 *
 * A reader that finds the lease of another loads for itself instead of waiting: each replica shares its loads already, so
 * that there is at most one load for each replica, and none waits for another that may have died.
 *
 * A store that fails is a store that has nothing: reads never fail for its sake.
 */
export class SharedLevel<Value> {
  readonly #options: SharedLevelOptions

  constructor(options: SharedLevelOptions) {
    this.#options = options
  }

  /** Reads values from the store, those that are not there by `load`. Throws what `load` throws. */
  async readThrough(
    keys: readonly string[],
    load: LoadMany<string, Value>,
    cancel: Cancellation,
  ): Promise<readonly Loaded<string, Value>[]> {
    const lease = leaseMark + this.#options.token()
    const { found, leased } = await this.#take(
      keys.filter((key) => !this.#options.isSuspect(key)),
      lease,
    )
    const missing = keys.filter((key) => !found.has(key))
    if (missing.length === 0) return [...found.values()]
    let loaded: readonly Loaded<string, Value>[] = []
    try {
      loaded = await load(missing, cancel)
    } finally {
      // Nobody waits for it, and without it the next reader takes the lease.
      if (leased.length > 0) void this.#fill(leased, lease, loaded).catch(() => {})
    }
    return [...found.values(), ...loaded]
  }

  /** Deletes values and leases. Rejects where it cannot be known to have been done. */
  async remove(keys: readonly string[]): Promise<void> {
    await this.#options.valkey.command('DEL', ...keys.map(this.#stored))
  }

  readonly #stored = (key: string): string => this.#options.prefix + key

  async #take(keys: readonly string[], lease: string): Promise<Taken<Value>> {
    const found = new Map<string, Loaded<string, Value>>()
    const leased: string[] = []
    if (keys.length === 0) return { found, leased }
    const { valkey } = this.#options
    const answer = await valkey.script(take, keys.map(this.#stored), [lease, String(leaseMs)]).catch(() => [])
    const held = answer as (string | number)[]
    for (let i = 0; i < held.length / 2; i++) {
      const key = keys[i]!
      const text = held[2 * i] as string
      const value = valueOf(text) as Value | undefined
      if (text === lease) leased.push(key)
      else if (value !== undefined) found.set(key, { key, value, freshMs: held[2 * i + 1] as number })
    }
    return { found, leased }
  }

  #fill(leased: readonly string[], lease: string, loaded: readonly Loaded<string, Value>[]): Promise<unknown> {
    const { valkey, ttlMs, random } = this.#options
    const texts = new Map(loaded.map(({ key, value }) => [key, valueMark + JSON.stringify(value)]))
    const jitteredMs = Math.ceil(ttlMs * (0.9 + 0.2 * random()))
    const values = leased.map((key) => texts.get(key) ?? '')
    return valkey.script(fill, leased.map(this.#stored), [lease, String(jitteredMs), ...values])
  }
}

type Taken<Value> = {
  readonly found: Map<string, Loaded<string, Value>>
  /** Keys whose lease is ours. */
  readonly leased: string[]
}

/** Undefined for a lease, and for what is not of our making. */
const valueOf = (text: string): unknown => {
  if (!text.startsWith(valueMark)) return undefined
  try {
    return JSON.parse(text.slice(1))
  } catch {
    return undefined
  }
}
