import type { Valkey } from '../valkey.ts'
import { type Bus, type BusListener, channel, keysOf, messagesOf } from './bus.ts'

/** Carries the news through a channel of Valkey, on the connection that all share. */
export class ValkeyBus implements Bus {
  readonly #valkey: Pick<Valkey, 'command' | 'subscribe'>
  readonly #sender: string

  /** `sender`: of this replica, no other. */
  constructor(valkey: Pick<Valkey, 'command' | 'subscribe'>, sender: string) {
    this.#valkey = valkey
    this.#sender = sender
  }

  open({ onKeys, onUp, onGap }: BusListener): Promise<void> {
    const events = { up: onUp, gap: () => onGap(new Error('the connection to the shared store is lost')) }
    void this.#valkey.subscribe(channel, (message) => onKeys(keysOf(message, this.#sender)), events)
    return Promise.resolve()
  }

  async publish(keys: readonly string[]): Promise<void> {
    await Promise.all(
      messagesOf(this.#sender, keys).map((message) => this.#valkey.command('PUBLISH', channel, message)),
    )
  }

  /** The connection is its owner's to close. */
  close(): Promise<void> {
    return Promise.resolve()
  }
}
