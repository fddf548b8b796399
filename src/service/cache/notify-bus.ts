import { type Bus, type BusListener, keysOf, messagesOf } from './bus.ts'

/** A channel that every replica listens to. */
export type Channel = {
  /** Sends a message to all who listen. Rejects where it cannot be known to be out. */
  notify(message: string): Promise<void>
  end(): Promise<void>
}

export type ChannelEvents = {
  readonly onMessage: (message: string) => void
  readonly onUp: () => void
  readonly onGap: (why: Error) => void
}

export type NotifyBusOptions = {
  /** Starts to listen. */
  readonly listen: (events: ChannelEvents) => Promise<Channel>
  /** Of this replica, no other. */
  readonly sender: string
}

type Batch = { readonly keys: Set<string>; readonly sent: Promise<void> }

/**
 * Carries the news through PostgreSQL's own NOTIFY, for replicas that share nothing but the database. One message is
 * under way at a time; keys that change meanwhile go out together in the next.
 */
export class NotifyBus implements Bus {
  readonly #options: NotifyBusOptions
  #channel: Channel | undefined
  #next: Batch | undefined
  #last: Promise<unknown> = Promise.resolve()
  #closed = false

  constructor(options: NotifyBusOptions) {
    this.#options = options
  }

  async open({ onKeys, onUp, onGap }: BusListener): Promise<void> {
    const { listen, sender } = this.#options
    const channel = await listen({ onMessage: (message) => onKeys(keysOf(message, sender)), onUp, onGap })
    if (this.#closed) await channel.end()
    else this.#channel = channel
  }

  publish(keys: readonly string[]): Promise<void> {
    const batch = (this.#next ??= this.#batch())
    for (const key of keys) batch.keys.add(key)
    return batch.sent
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#last
    await this.#channel?.end()
  }

  #batch(): Batch {
    const keys = new Set<string>()
    const sent = this.#last.then(() => {
      this.#next = undefined
      return this.#send([...keys])
    })
    this.#last = sent.catch(() => {})
    return { keys, sent }
  }

  async #send(keys: readonly string[]): Promise<void> {
    if (this.#channel === undefined) throw new Error('not open')
    for (const message of messagesOf(this.#options.sender, keys)) await this.#channel.notify(message)
  }
}
