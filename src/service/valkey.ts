import type { ProblemCode } from '../contract/problems.ts'
import { Failure } from '../kit/errors.ts'

export type ValkeyOptions = {
  /** `redis://` or, with TLS, `rediss://`; user, password and number of the database as usual. */
  readonly url: string
  /** What a command may take. A server that needs longer counts as lost. */
  readonly commandTimeoutMs: number
  /** For the jitter of the back-off. */
  readonly random: () => number
  /** Told when the server is first reached or first missed, and of every change from then on. */
  readonly onEvent: (event: 'reachable' | 'unreachable', why?: Error) => void
}

/** A Lua script. Its keys are `KEYS`, its arguments `ARGV`. Make one of each: it is known by its identity. */
export type Script = { readonly lua: string }

export type SubscriptionEvents = {
  /** Messages may have been lost from now on. */
  gap(): void
  /** Subscribed, at first or again: messages sent from now on arrive. */
  up(): void
}

type Subscription = {
  readonly channel: string
  readonly onMessage: (message: string) => void
  readonly events: SubscriptionEvents
  readonly first: PromiseWithResolvers<void>
}

/** The part of `@redis/client` that is used here. */
type Client = {
  connect(): Promise<unknown>
  destroy(): void
  sendCommand(args: readonly string[]): Promise<unknown>
  subscribe(channel: string, onMessage: (message: string) => void): Promise<void>
  on(event: 'error', listener: (error: Error) => void): unknown
}

/** Loaded when the connection is opened, so that a replica without it starts faster. */
type Loaded = { readonly createClient: () => Client; readonly sha1: (text: string) => string }

type State =
  | { readonly name: 'closed' }
  | { readonly name: 'connecting'; readonly client: Client; readonly timer: NodeJS.Timeout }
  | { readonly name: 'up'; readonly client: Client; readonly watch: SilenceWatch; readonly timer: NodeJS.Timeout }
  | { readonly name: 'waiting'; readonly timer: NodeJS.Timeout }
  | { readonly name: 'ended' }

/** Until the server has answered the first commands of a new connection. */
const connectTimeoutMs = 1_000
const shortestBackOffMs = 100
const longestBackOffMs = 1_000
/** A connection that is not used is asked this often whether it still stands. */
const heartbeatMs = 500
/** More than this on one connection is no queue but a flood. */
const maxInFlight = 65_536

/**
 * One connection to Valkey or Redis (6 or later) that all share, for commands and for messages (RESP 3).
 *
 * ```
 * closed --open()--> connecting --subscribed to all channels--> up --error, end, silence--> waiting
 * connecting --error, 1 s--> waiting --0.1 to 1 s--> connecting        any --dispose--> ended
 * ```
 * Only `up` takes commands. In every other state they fail at once: nobody waits for a server that is away. One that
 * hangs is noticed by its silence (see {@link SilenceWatch}); all that it has not answered fails then, and as it does not
 * complete a new connection either, the requests that follow do not wait for it.
 */
export class Valkey implements AsyncDisposable {
  readonly #options: ValkeyOptions
  readonly #subscriptions: Subscription[] = []
  readonly #shas = new Map<Script, string>()
  #state: State = { name: 'closed' }
  #loaded: Loaded | undefined
  /** Attempts to connect that failed since the connection was last up. */
  #failures = 0
  #told: 'reachable' | 'unreachable' | undefined

  constructor(options: ValkeyOptions) {
    this.#options = options
  }

  /** Whether commands are taken. */
  get reachable(): boolean {
    return this.#state.name === 'up'
  }

  /** Loads the client and starts to connect. Never rejects: what fails is told as `unreachable`. */
  async open(): Promise<void> {
    try {
      this.#loaded = await load(this.#options.url)
      if (this.#state.name === 'closed') this.#connect(this.#loaded)
    } catch {
      // The error shows the URL, and that has a password in it.
      this.#tell('unreachable', new Error('the URL of the shared store cannot be read'))
    }
  }

  /**
   * Runs a script, by its SHA-1 where the server knows it. Rejects with `Failure('cache-unavailable')`: at once while the
   * server is not reachable, otherwise after `commandTimeoutMs` at most, or with the server's error as the cause.
   */
  async script(script: Script, keys: readonly string[], args: readonly string[]): Promise<unknown> {
    const rest = [String(keys.length), ...keys, ...args]
    try {
      return await this.#send('EVALSHA', this.#sha1(script), ...rest)
    } catch (error) {
      if (!isUnknownScript(error)) throw unavailable(error)
      return this.command('EVAL', script.lua, ...rest)
    }
  }

  /** Runs a command, each argument on its own: `command('SET', key, value)`. Rejects as {@link script} does. */
  async command(...args: string[]): Promise<unknown> {
    try {
      return await this.#send(...args)
    } catch (error) {
      throw unavailable(error)
    }
  }

  /**
   * Calls `onMessage` with the messages of a channel, also after the connection was lost and made again. `events` say when
   * some may be missing. Resolves when subscribed for the first time, or when the connection is closed for good.
   */
  subscribe(channel: string, onMessage: (message: string) => void, events: SubscriptionEvents): Promise<void> {
    const subscription = { channel, onMessage, events, first: Promise.withResolvers<void>() }
    this.#subscriptions.push(subscription)
    const state = this.#state
    if (state.name === 'ended') subscription.first.resolve()
    if (state.name === 'up') {
      state.client.subscribe(channel, onMessage).then(
        () => this.#state === state && toldUp(subscription),
        (why: Error) => this.#lost(state.client, why),
      )
    }
    return subscription.first.promise
  }

  /** Closes the connection; what is in flight fails. */
  async [Symbol.asyncDispose](): Promise<void> {
    const before = this.#state
    this.#enter({ name: 'ended' })
    if ('client' in before) before.client.destroy()
    for (const { first } of this.#subscriptions) first.resolve()
  }

  /** The one place where the state changes. */
  #enter(state: State, why?: Error): void {
    const before = this.#state
    if (before.name === 'ended') return
    if ('timer' in before) clearTimeout(before.timer)
    if (before.name === 'up') before.watch.stop()
    this.#state = state
    if (before.name === 'up') for (const { events } of this.#subscriptions) events.gap()
    if (state.name === 'up') this.#tell('reachable')
    if (state.name === 'waiting') this.#tell('unreachable', why)
  }

  #tell(event: 'reachable' | 'unreachable', why?: Error): void {
    if (this.#told === event) return
    this.#told = event
    this.#options.onEvent(event, why)
  }

  #connect({ createClient }: Loaded): void {
    const client = createClient()
    const lost = (why: Error): void => this.#lost(client, why)
    client.on('error', lost)
    const timer = setTimeout(lost, connectTimeoutMs, new Error(`no connection within ${connectTimeoutMs} ms`))
    this.#enter({ name: 'connecting', client, timer })
    this.#establish(client).catch(lost)
  }

  async #establish(client: Client): Promise<void> {
    await client.connect()
    // Channels that are added meanwhile come at the end of the list, and so have their turn.
    for (const { channel, onMessage } of this.#subscriptions) await client.subscribe(channel, onMessage)
    const state = this.#state
    if (state.name !== 'connecting' || state.client !== client) return
    const { commandTimeoutMs } = this.#options
    const watch = new SilenceWatch(commandTimeoutMs, () =>
      this.#lost(client, new Error(`no answer within ${commandTimeoutMs} ms`)),
    )
    const timer = setInterval(() => this.#send('PING').catch(() => {}), heartbeatMs).unref()
    this.#failures = 0
    this.#enter({ name: 'up', client, watch, timer })
    this.#subscriptions.forEach(toldUp)
  }

  #lost(client: Client, why: Error): void {
    const state = this.#state
    // A lost connection says so more than once: by its error, its commands, the failed attempt to connect.
    if (!('client' in state) || state.client !== client) return
    const timer = setTimeout(() => this.#connect(this.#loaded!), this.#backOffMs())
    this.#failures++
    this.#enter({ name: 'waiting', timer }, why)
    client.destroy()
  }

  #backOffMs(): number {
    const ms = Math.min(shortestBackOffMs * 2 ** this.#failures, longestBackOffMs)
    return ms * (0.5 + this.#options.random() / 2)
  }

  #send(...args: string[]): Promise<unknown> {
    const state = this.#state
    if (state.name !== 'up') return Promise.reject(unavailable())
    const { client, watch } = state
    watch.sent()
    return client.sendCommand(args).finally(() => watch.answered())
  }

  #sha1(script: Script): string {
    const known = this.#shas.get(script)
    if (known !== undefined) return known
    if (this.#loaded === undefined) return ''
    const sha = this.#loaded.sha1(script.lua)
    this.#shas.set(script, sha)
    return sha
  }
}

const load = async (url: string): Promise<Loaded> => {
  const [{ createClient }, { createHash }] = await Promise.all([import('@redis/client'), import('node:crypto')])
  return {
    createClient: () => createClient(clientOptions(url)),
    sha1: (text) => createHash('sha1').update(text).digest('hex'),
  }
}

const clientOptions = (url: string) => ({
  url,
  name: 'plimsoll',
  RESP: 3 as const,
  // A timer for each command costs more than the rest of it: see SilenceWatch.
  commandOptions: { timeout: 0 },
  commandsQueueMaxLength: maxInFlight,
  disableOfflineQueue: true,
  maintNotifications: 'disabled' as const,
  socket: { reconnectStrategy: false as const, connectTimeout: connectTimeoutMs },
})

const toldUp = ({ events, first }: Subscription): void => {
  events.up()
  first.resolve()
}

const unavailable = (cause?: unknown): Failure<ProblemCode> =>
  cause instanceof Failure
    ? (cause as Failure<ProblemCode>)
    : new Failure('cache-unavailable', { detail: 'the shared store does not answer', retryAfterSeconds: 1, cause })

const isUnknownScript = (error: unknown): boolean => error instanceof Error && error.message.startsWith('NOSCRIPT')

/**
 * Notices a server that leaves commands unanswered, with one timer for all of them: replies come in the order of the
 * commands, so that it is enough to count both. At each tick it notes how many were sent; as many must be answered four
 * ticks later, which is after 4/5 to 5/5 of the timeout. A process that was busy itself sees fewer ticks in that time, and
 * reads what has arrived between two of them: it does not take its own pause for the server's.
 */
class SilenceWatch {
  readonly #tickMs: number
  readonly #onSilence: () => void
  #timer: NodeJS.Timeout | undefined
  #sent = 0
  #answered = 0
  /** How many were sent at the last ticks, the oldest first. */
  #sentBy: number[] = []

  constructor(timeoutMs: number, onSilence: () => void) {
    this.#tickMs = timeoutMs / (ticks + 1)
    this.#onSilence = onSilence
  }

  sent(): void {
    this.#sent++
    this.#timer ??= setInterval(() => this.#tick(), this.#tickMs).unref()
  }

  answered(): void {
    this.#answered++
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#sentBy = []
  }

  #tick(): void {
    if (this.#answered === this.#sent) return this.stop()
    if (this.#sentBy.length === ticks && this.#answered < this.#sentBy.shift()!) return this.#onSilence()
    this.#sentBy.push(this.#sent)
  }
}

const ticks = 4
