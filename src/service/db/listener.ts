import pg from 'pg'
import { databaseFailure, unavailable } from './failure.ts'

export type ListenerOptions = {
  readonly connection: pg.ClientConfig
  readonly channel: string
  /** The connection is given up when it answers nothing for this long; asked as often. */
  readonly patienceMs: number
  readonly onMessage: (message: string) => void
  /** From now on every message that is sent arrives. */
  readonly onUp: () => void
  /** From now on messages are lost; also told when the first connection cannot be made. */
  readonly onGap: (why: Error) => void
}

const retryMs = 200
/** Comes back to who sent it; no message of ours looks like it. */
const echo = ''

type State =
  | { readonly name: 'connecting'; readonly client: pg.Client; readonly timer: NodeJS.Timeout }
  | { readonly name: 'up'; readonly client: pg.Client; readonly timer: NodeJS.Timeout }
  | { readonly name: 'waiting'; readonly timer: NodeJS.Timeout }
  | { readonly name: 'ended' }

/**
 * One connection that hears the messages of a channel (LISTEN) and sends some (NOTIFY).
 *
 * ```
 * connecting --heard its own echo--> up --error, end or silence--> waiting --200 ms--> connecting
 * connecting --error or silence--> waiting          any --end()--> ended
 * ```
 * That LISTEN was answered is not enough: behind a pooler that lends connections for one statement it is answered, too,
 * and messages go elsewhere. Who hears its own echo hears the others. A connection that only listens would never notice
 * that its network is gone, so that it is asked for a sign of life.
 *
 * Messages are no changes of data: to lose the last ones with the server's memory is to lose nothing, so the connection
 * commits without waiting for the disk.
 */
export class Listener {
  readonly #options: ListenerOptions
  #state: State
  #told = false

  constructor(options: ListenerOptions) {
    this.#options = options
    this.#state = this.#connect()
  }

  /** Sends a message of at most 7,999 bytes to all listeners, this one included. Fails with `database-unavailable`. */
  async notify(message: string): Promise<void> {
    const state = this.#state
    if (state.name !== 'up') throw unavailable()
    try {
      await send(state.client, this.#options.channel, message)
    } catch (error) {
      // What cannot send is not to be trusted with hearing either.
      this.#lost(state.client, error as Error)
      throw databaseFailure(error)
    }
  }

  /** Closes the connection; messages are heard no more. */
  async end(): Promise<void> {
    const before = this.#state
    this.#enter({ name: 'ended' })
    if (!('client' in before)) return
    const timer = setTimeout(() => cut(before.client), this.#options.patienceMs)
    await before.client.end()
    clearTimeout(timer)
  }

  /** The one place where the state changes. */
  #enter(state: State, why?: Error): void {
    const before = this.#state
    if (before.name === 'ended') return
    if ('timer' in before) clearTimeout(before.timer)
    this.#state = state
    if (state.name === 'up') this.#options.onUp()
    // An attempt to connect that fails tells nothing new, but for the first.
    if (state.name === 'waiting' && (before.name === 'up' || !this.#told)) this.#options.onGap(why ?? unavailable())
    this.#told = true
  }

  #connect(): State {
    const { connection, channel, patienceMs } = this.#options
    const options = `${connection.options ?? ''} -c synchronous_commit=off`
    const limits = { connectionTimeoutMillis: patienceMs, query_timeout: patienceMs }
    const client = new pg.Client({ ...connection, ...limits, keepAlive: true, options })
    const lost = (why?: Error): void => this.#lost(client, why)
    client.on('error', lost)
    client.on('end', lost)
    client.on('notification', ({ payload = '' }) => this.#heard(client, payload))
    const listen = async (): Promise<void> => {
      await client.connect()
      await client.query(`listen ${client.escapeIdentifier(channel)}`)
      await send(client, channel, echo)
    }
    listen().catch(lost)
    // To connect and to be answered twice, each within its time.
    return { name: 'connecting', client, timer: setTimeout(() => lost(deaf()), 3 * patienceMs) }
  }

  #heard(client: pg.Client, message: string): void {
    const state = this.#state
    if (!('client' in state) || state.client !== client) return
    if (message !== echo) return this.#options.onMessage(message)
    if (state.name === 'connecting') this.#enter({ name: 'up', client, timer: this.#askAgain(client) })
  }

  /** Asks for a sign of life after a while; `query_timeout` bounds the wait for it. */
  #askAgain(client: pg.Client): NodeJS.Timeout {
    const ask = async (): Promise<void> => {
      try {
        await client.query('select')
        if (this.#state.name === 'up') this.#state.timer.refresh()
      } catch (error) {
        this.#lost(client, error as Error)
      }
    }
    return setTimeout(() => void ask(), this.#options.patienceMs).unref()
  }

  #lost(client: pg.Client, why?: Error): void {
    const state = this.#state
    // A lost connection says so more than once.
    if (!('client' in state) || state.client !== client) return
    cut(client)
    const timer = setTimeout(() => this.#enter(this.#connect()), retryMs)
    this.#enter({ name: 'waiting', timer }, why)
  }
}

const send = (client: pg.Client, channel: string, message: string): Promise<unknown> =>
  client.query({ name: 'notify', text: 'select pg_notify($1, $2)', values: [channel, message] })

/** Ends a connection without asking its peer. */
const cut = (client: pg.Client): void => {
  ;(client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy()
}

const deaf = (): Error => new Error('LISTEN hears nothing; a pooler in between must lend whole sessions')
