import type { Logger } from 'pino'
import type { Cancellation } from '../kit/cancellation.ts'
import type { Clock } from '../kit/timers.ts'
import { channel } from './cache/bus.ts'
import { Cache, type CacheStats, type LoadMany, type Lookup } from './cache/cache.ts'
import { Coherence } from './cache/coherence.ts'
import { type Channel, type ChannelEvents, NotifyBus } from './cache/notify-bus.ts'
import { SharedLevel } from './cache/shared-level.ts'
import { ValkeyBus } from './cache/valkey-bus.ts'
import type { Config } from './config.ts'
import type { Item } from './db/queries/item.ts'
import type { World } from './db/queries/read-world.ts'
import type { Valkey } from './valkey.ts'

export type ServiceCacheDeps = {
  readonly config: Config
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly log: Pick<Logger, 'info' | 'warn'>
  /** What replicas share; undefined where none is configured. */
  readonly valkey: Valkey | undefined
}

/**
 * What the service keeps of its database.
 *
 * Items, which change: in memory, and in Valkey where there is one. Replicas tell each other of changes through Valkey,
 * otherwise through the database itself.
 *
 * Rows of `cached_world`, which never change: in memory only. There is nothing to tell, and Valkey would give them no
 * sooner than the database does.
 */
export class ServiceCache implements AsyncDisposable {
  readonly #items: Cache<string, Item>
  readonly #worlds: Cache<number, World>
  readonly #deps: ServiceCacheDeps
  /** Undefined until `open`, and without a database. */
  #coherence: Coherence | undefined
  /** Undefined where replicas share none, and where nothing is kept. */
  #shared: SharedLevel<Item> | undefined

  constructor(deps: ServiceCacheDeps) {
    const options = { ...deps.config.cache, clock: deps.clock, random: deps.random }
    this.#deps = deps
    this.#items = new Cache(options)
    this.#worlds = new Cache(options)
    this.#items.suspend()
  }

  /** Starts to listen to the other replicas. Until then items are read from the database. */
  async open(): Promise<void> {
    const { config, clock, valkey } = this.#deps
    if (config.database === undefined) return
    const sender = crypto.randomUUID()
    const shared = valkey === undefined ? undefined : this.#share(valkey, sender)
    // A replica that keeps nothing tells of its changes nevertheless: others may keep what it changes.
    if (config.cache.maxEntries > 0) this.#shared = shared
    const listen = listenTo(config.database.url, `plimsoll ${config.instance} cache`)
    const bus = valkey === undefined ? new NotifyBus({ listen, sender }) : new ValkeyBus(valkey, sender)
    const onEvent = logged(this.#deps)
    this.#coherence = new Coherence({ memory: this.#items, shared, bus, clock, onEvent })
    await this.#coherence.open()
  }

  /** Reads one item; undefined where there is none. Throws what `load` throws, or the reason of `cancel`. */
  async item(
    id: string,
    load: (cancel: Cancellation) => Promise<Item | undefined>,
    cancel: Cancellation,
  ): Promise<Lookup<Item | undefined>> {
    const shared = this.#shared
    if (shared === undefined) return this.#items.get(id, load, cancel)
    const loadItem: LoadMany<string, Item> = async ([key], cancel) => {
      const value = await load(cancel)
      return value === undefined ? [] : [{ key: key!, value }]
    }
    const through: LoadMany<string, Item> = (keys, cancel) => shared.readThrough(keys, loadItem, cancel)
    const { value, source, freshMs } = await this.#items.getMany([id], through, cancel)
    return { value: value[0], source, freshMs }
  }

  /**
   * To be called when an item was changed or deleted, or may have been, and waited for before that is answered. Never
   * rejects. A new item needs none of it: that an item is not there is never kept.
   */
  async itemChanged(id: string): Promise<void> {
    await this.#coherence?.changed(id)
  }

  /** Reads rows of `cached_world`, in the order of their ids given. */
  worlds(
    ids: readonly number[],
    load: LoadMany<number, World>,
    cancel: Cancellation,
  ): Promise<Lookup<(World | undefined)[]>> {
    return this.#worlds.getMany(ids, load, cancel)
  }

  get stats(): { readonly items: CacheStats; readonly worlds: CacheStats } {
    return { items: this.#items.stats, worlds: this.#worlds.stats }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#coherence?.[Symbol.asyncDispose]()
  }

  #share(valkey: Valkey, sender: string): SharedLevel<Item> {
    const { config, random } = this.#deps
    let taken = 0
    return new SharedLevel({
      valkey,
      // The number is that of the form of an item.
      prefix: 'plimsoll:item:1:',
      ttlMs: config.cache.ttlMs,
      token: () => `${sender}.${(taken += 1)}`,
      random,
      isSuspect: (key) => this.#coherence!.isSuspect(key),
    })
  }
}

/** How long the connection may be silent, and how long a message may take, before it counts as lost. */
const patienceMs = 1_000

/** The driver is loaded when it is needed, as for the database itself. */
const listenTo =
  (url: string, applicationName: string) =>
  async (events: ChannelEvents): Promise<Channel> => {
    const { Listener } = await import('./db/listener.ts')
    const connection = { connectionString: url, application_name: applicationName }
    return new Listener({ connection, channel, patienceMs, ...events })
  }

const logged =
  ({ log }: ServiceCacheDeps) =>
  (event: 'coherent' | 'incoherent', why?: Error): void => {
    if (event === 'coherent') log.info('cache coherent with the other replicas')
    else log.warn({ err: why }, 'cache bypassed: changes by other replicas are not heard')
  }
