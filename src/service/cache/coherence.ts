import type { Clock } from '../../kit/timers.ts'
import { type Bus, mostKeysPerMessage } from './bus.ts'
import type { Cache } from './cache.ts'
import type { SharedLevel } from './shared-level.ts'

export type CoherenceOptions = {
  readonly memory: Pick<Cache<string, unknown>, 'invalidate' | 'suspend' | 'resume'>
  /** Undefined where replicas share none. */
  readonly shared?: Pick<SharedLevel<unknown>, 'remove'> | undefined
  readonly bus: Bus
  readonly clock: Clock
  /** Told of changes between hearing of other replicas' changes and not. */
  readonly onEvent: (event: 'coherent' | 'incoherent', why?: Error) => void
}

/** Between two attempts to tell of changes that could not be told. */
const retryMs = 1_000
/** Changes that are still to be told; of more the oldest are given up, and expire with their TTL. */
const mostOwed = 100_000

/**
 * Keeps the caches of all replicas from serving what has changed.
 *
 * Of a change that is committed, the one who made it deletes the entry in its own memory, then the shared one, then tells
 * the other replicas. Until both are known to be done the change is owed: it is tried again every second, and this
 * replica does not believe the shared level in that key.
 *
 * While a replica hears nothing of the others' changes it keeps nothing in memory (`suspend`), which is so from the
 * start, until the bus is up.
 */
export class Coherence {
  readonly #options: CoherenceOptions
  /** By key the latest change that is not known to be told. */
  readonly #owed = new Map<string, symbol>()
  #retry: unknown
  #closed = false

  constructor(options: CoherenceOptions) {
    this.#options = options
    options.memory.suspend()
  }

  open(): Promise<void> {
    const { memory, bus, onEvent } = this.#options
    return bus.open({
      onKeys: (keys) => keys.forEach((key) => memory.invalidate(key)),
      onUp: () => {
        memory.resume()
        onEvent('coherent')
      },
      onGap: (why) => {
        memory.suspend()
        onEvent('incoherent', why)
      },
    })
  }

  /** Whether the shared level may have what a key was before a change. */
  readonly isSuspect = (key: string): boolean => this.#owed.has(key)

  /**
   * To be called when a change has been committed, or may have been, and waited for before its answer. Never rejects.
   */
  async changed(key: string): Promise<void> {
    const change = Symbol(key)
    // Taken out first, for the order of the map is that of age.
    this.#owed.delete(key)
    this.#owed.set(key, change)
    this.#options.memory.invalidate(key)
    await this.#tell([[key, change]])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    this.#options.clock.clearTimeout(this.#retry as never)
    await this.#options.bus.close()
  }

  async #tell(changes: readonly (readonly [key: string, change: symbol])[]): Promise<void> {
    const { shared, bus } = this.#options
    const keys = changes.map(([key]) => key)
    try {
      await shared?.remove(keys)
      await bus.publish(keys)
      // Another change of the key may have come meanwhile, and it has yet to be told.
      for (const [key, change] of changes) if (this.#owed.get(key) === change) this.#owed.delete(key)
    } catch {
      this.#tellLater()
    }
  }

  #tellLater(): void {
    for (const key of this.#owed.keys()) {
      if (this.#owed.size <= mostOwed) break
      this.#owed.delete(key)
    }
    if (this.#retry !== undefined || this.#closed) return
    this.#retry = this.#options.clock.setTimeout(() => void this.#tellOwed(), retryMs)
  }

  async #tellOwed(): Promise<void> {
    const owed = [...this.#owed]
    for (let i = 0; i < owed.length; i += mostKeysPerMessage) await this.#tell(owed.slice(i, i + mostKeysPerMessage))
    this.#retry = undefined
    if (this.#owed.size > 0) this.#tellLater()
  }
}
