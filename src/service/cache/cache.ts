import { LRUCache } from 'lru-cache'
import { type Cancellation, within } from '../../kit/cancellation.ts'
import { errorTypeOf } from '../../kit/errors.ts'
import type { Clock } from '../../kit/timers.ts'
import type { Span } from '../../kit/trace.ts'
import { Flight } from './flight.ts'

export type CacheOptions = {
  /** The entry that was used least recently makes room for one more. 0: nothing is kept and nothing shared. */
  readonly maxEntries: number
  /** How long an entry is fresh, give or take a tenth: entries that came together must not all expire together. */
  readonly ttlMs: number
  /** How much longer an entry is still served, while one load in the background renews it. */
  readonly staleMs: number
  readonly clock: Pick<Clock, 'now'>
  /** Uniform in [0, 1). */
  readonly random: () => number
}

/** What a load has found under one key. */
export type Loaded<Key, Value> = {
  readonly key: Key
  readonly value: Value
  /** How long it is fresh where that is less than the cache's own TTL: it comes from a cache itself. */
  readonly freshMs?: number
}

/** Reads the values of some keys; a key without a value is left out. */
export type LoadMany<Key, Value> = (
  keys: readonly Key[],
  cancel: Cancellation,
) => Promise<readonly Loaded<Key, Value>[]>

/**
 * Where values came from: `hit`, all from memory; `miss`, all from loads of the caller's own; `collapsed`, from a load
 * that another caller had begun; `partial`, some from memory; `bypass`, from a load, because nothing is kept now.
 */
export type Source = 'hit' | 'miss' | 'collapsed' | 'partial' | 'bypass'

export type Lookup<Value> = {
  readonly value: Value
  readonly source: Source
  /** Of a hit: how long the value stays fresh (of several, the one that expires first). Negative: it is stale. */
  readonly freshMs: number
}

/** Counted since the start, but for `entries`. */
export type CacheStats = {
  /** Keys answered from memory, fresh. */
  readonly hits: number
  /** Keys answered from memory, past their TTL. */
  readonly stale: number
  /** Keys that were not in memory. `misses - loads` at one key each is what single flight has saved. */
  readonly misses: number
  readonly loads: number
  /** Loads that found out what there is. */
  readonly loaded: number
  /** Loads that failed; one that nobody waited for any more did not. */
  readonly errors: number
  readonly entries: number
}

type Entry<Value> = { readonly value: Value; readonly freshUntilMs: number; readonly staleUntilMs: number }
type Look<Key, Value> = { value: (Value | undefined)[]; missing: number[]; aging: Key[]; freshMs: number }
type Found<Key, Value> = ReadonlyMap<Key, Loaded<Key, Value>>
type LoadFlight<Key, Value> = Flight<Found<Key, Value>>

/**
 * A read-through cache in memory. Callers that miss one key at the same time share one load (single flight). A value is
 * served as it is for its TTL, then for `staleMs` while one load renews it. Errors are not kept, and neither is that a
 * key has no value: keys that are made up would push out those that are asked for, and whoever creates a value would
 * have to invalidate what it never had.
 *
 * `#flights` has for each key the load that may still store it. `invalidate` takes the key out of there: the load then
 * ends for those who already wait, stores nothing, and later callers start their own. A load that was begun before a
 * change can therefore never put the value back from before it.
 */
export class Cache<Key extends string | number, Value> {
  readonly #options: CacheOptions
  #entries: LRUCache<Key, Entry<Value>> | undefined
  readonly #flights = new Map<Key, LoadFlight<Key, Value>>()
  #suspended = false
  #hits = 0
  #stale = 0
  #misses = 0
  #loads = 0
  #loaded = 0
  #errors = 0

  constructor(options: CacheOptions) {
    this.#options = options
  }

  /** Reads one value; undefined where there is none. Throws what `load` throws, or the reason of `cancel`. */
  async get(
    key: Key,
    load: (cancel: Cancellation) => Promise<Value | undefined>,
    cancel?: Cancellation,
  ): Promise<Lookup<Value | undefined>> {
    const loadOne: LoadMany<Key, Value> = async (_, cancel) => {
      const value = await load(cancel)
      return value === undefined ? [] : [{ key, value }]
    }
    const { value, source, freshMs } = await this.getMany([key], loadOne, cancel)
    return { value: value[0], source, freshMs }
  }

  /** Reads the values of keys, in their order; all that miss are loaded together. */
  async getMany(
    keys: readonly Key[],
    load: LoadMany<Key, Value>,
    cancel?: Cancellation,
  ): Promise<Lookup<(Value | undefined)[]>> {
    cancel?.throwIfAborted()
    if (this.#options.maxEntries === 0) return this.#loadForOne(keys, load, cancel)
    const { value, missing, aging, freshMs } = this.#look(keys)
    this.#hits += keys.length - missing.length - aging.length
    this.#stale += aging.length
    this.#misses += missing.length
    if (aging.length > 0) this.#renew(aging, load)
    if (missing.length === 0) return { value, source: 'hit', freshMs }
    const source = await this.#fetch(keys, value, missing, load, cancel)
    return { value, source, freshMs: 0 }
  }

  /** Forgets a key: no caller from now on is given a value from before. */
  invalidate(key: Key): void {
    this.#entries?.delete(key)
    this.#flights.delete(key)
  }

  /** Forgets all keys, as `invalidate` does each. */
  clear(): void {
    this.#entries?.clear()
    this.#flights.clear()
  }

  /** Forgets all keys and keeps none until `resume`, while invalidations may be lost. Loads are still shared. */
  suspend(): void {
    this.#suspended = true
    this.clear()
  }

  /** Keeps values again, but none of a load that began before. */
  resume(): void {
    this.clear()
    this.#suspended = false
  }

  get stats(): CacheStats {
    return {
      hits: this.#hits,
      stale: this.#stale,
      misses: this.#misses,
      loads: this.#loads,
      loaded: this.#loaded,
      errors: this.#errors,
      entries: this.#entries?.size ?? 0,
    }
  }

  /** What memory has: values in the order of the keys, where one is missing, which keys are stale. */
  #look(keys: readonly Key[]): Look<Key, Value> {
    const nowMs = this.#options.clock.now()
    const look: Look<Key, Value> = { value: [], missing: [], aging: [], freshMs: Infinity }
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i]!
      const entry = this.#entries?.get(key)
      const known = entry !== undefined && entry.staleUntilMs > nowMs
      look.value.push(known ? entry.value : undefined)
      if (!known) look.missing.push(i)
      else {
        const freshMs = entry.freshUntilMs - nowMs
        if (freshMs <= 0) look.aging.push(key)
        if (freshMs < look.freshMs) look.freshMs = freshMs
      }
    }
    return look
  }

  async #loadForOne(
    keys: readonly Key[],
    load: LoadMany<Key, Value>,
    cancel: Cancellation = neverCancelled,
  ): Promise<Lookup<(Value | undefined)[]>> {
    this.#misses += keys.length
    const found = await this.#load([...new Set(keys)], load, cancel, cancel.span)
    return { value: keys.map((key) => found.get(key)?.value), source: 'bypass', freshMs: 0 }
  }

  /** Puts the missing values where they belong, from loads that are under way and one for the rest. */
  async #fetch(
    keys: readonly Key[],
    value: (Value | undefined)[],
    missing: readonly number[],
    load: LoadMany<Key, Value>,
    cancel: Cancellation | undefined,
  ): Promise<Source> {
    const unclaimed = missing.map((i) => keys[i]!).filter((key) => !this.#flights.has(key))
    if (unclaimed.length > 0) this.#launch(new Set(unclaimed), load, cancel?.span)
    const flights = missing.map((i) => this.#flights.get(keys[i]!)!)
    const joined = new Map([...new Set(flights)].map((flight) => [flight, flight.join(cancel)]))
    const landed = new Map<LoadFlight<Key, Value>, Found<Key, Value>>()
    await Promise.all([...joined].map(async ([flight, result]) => landed.set(flight, await result)))
    missing.forEach((i, at) => (value[i] = landed.get(flights[at]!)!.get(keys[i]!)?.value))
    if (this.#suspended) return 'bypass'
    if (missing.length < keys.length) return 'partial'
    return unclaimed.length === 0 ? 'collapsed' : 'miss'
  }

  #renew(aging: readonly Key[], load: LoadMany<Key, Value>): void {
    const unclaimed = aging.filter((key) => !this.#flights.has(key))
    if (unclaimed.length > 0) this.#launch(new Set(unclaimed), load)
  }

  /** `parent`: of who began it; what others have to do with it is not recorded. */
  #launch(keys: ReadonlySet<Key>, load: LoadMany<Key, Value>, parent?: Span): void {
    const fly = async (cancel: Cancellation): Promise<Found<Key, Value>> => {
      try {
        const found = await this.#load([...keys], load, cancel, parent)
        this.#release(keys, flight, (key) => this.#store(key, found.get(key)))
        return found
      } catch (error) {
        this.#release(keys, flight)
        throw error
      }
    }
    const flight: LoadFlight<Key, Value> = new Flight(fly, () => this.#release(keys, flight))
    for (const key of keys) this.#flights.set(key, flight)
  }

  /** Ends a flight's claim to its keys, and does something for each that was not invalidated meanwhile. */
  #release(keys: ReadonlySet<Key>, flight: LoadFlight<Key, Value>, settle?: (key: Key) => void): void {
    for (const key of keys) {
      if (this.#flights.get(key) !== flight) continue
      this.#flights.delete(key)
      settle?.(key)
    }
  }

  async #load(
    keys: readonly Key[],
    load: LoadMany<Key, Value>,
    cancel: Cancellation,
    parent: Span | undefined,
  ): Promise<Found<Key, Value>> {
    this.#loads++
    const span = parent?.child('cache').set('plimsoll.cache.keys', keys.length)
    try {
      const loaded = await load(keys, within(span, cancel))
      this.#loaded++
      span?.end()
      return new Map(loaded.map((one) => [one.key, one]))
    } catch (error) {
      if (!cancel.aborted) this.#errors++
      span?.end(errorTypeOf(error))
      throw error
    }
  }

  #store(key: Key, loaded: Loaded<Key, Value> | undefined): void {
    if (this.#suspended) return
    if (loaded === undefined) return void this.#entries?.delete(key)
    const { maxEntries, ttlMs, staleMs, clock, random } = this.#options
    this.#entries ??= new LRUCache({ max: maxEntries })
    const jitteredMs = ttlMs * (0.9 + 0.2 * random())
    const freshUntilMs = clock.now() + Math.min(jitteredMs, loaded.freshMs ?? Infinity)
    this.#entries.set(key, { value: loaded.value, freshUntilMs, staleUntilMs: freshUntilMs + staleMs })
  }
}

const neverCancelled: Cancellation = new AbortController().signal
