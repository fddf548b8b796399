import { Client, type Dispatcher } from 'undici'
import type { Attempt, Reply, Transport } from './transport.ts'

export type HttpOptions = {
  /** Absolute `http://` URLs. */
  readonly targets: readonly string[]
  readonly method: string
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body: Buffer | undefined
  /** Connections per target that are opened before one is used again. */
  readonly connections: number
  /** An attempt to connect ends some time after this, when the driver has long given it up. */
  readonly timeoutMs: number
}

/**
 * HTTP/1.1 over kept-alive connections, one request on each at a time, opened when none is free. Bodies are read to
 * the end and dropped; redirects are not followed; nothing is sent twice.
 */
export const httpTransport = (options: HttpOptions): Transport => {
  const targets = options.targets.map((url) => new Target(new URL(url), options))
  return {
    send: (target, reply) => targets[target]!.take().send(reply),
    close: async () => {
      await Promise.all(targets.map((target) => target.close()))
    },
  }
}

/**
 * The connections to one URL. Free ones form a queue: the one used longest ago is next, so that all of them stay in
 * use and the load spreads over the processes that accepted them. Taking and giving back cost the same for any number.
 */
class Target {
  readonly request: Dispatcher.DispatchOptions
  readonly #origin: string
  readonly #keepOpen: number
  readonly #clientOptions: Client.Options
  readonly #open = new Set<Connection>()
  #firstFree: Connection | undefined
  #lastFree: Connection | undefined

  constructor(url: URL, { method, headers, body, connections, timeoutMs }: HttpOptions) {
    this.request = { path: url.pathname + url.search, method, headers: headers.flat(), body: body ?? null }
    this.#origin = url.origin
    this.#keepOpen = connections
    this.#clientOptions = {
      pipelining: 1,
      allowH2: false,
      // The driver keeps the time of each request; a second timer per request would only cost.
      headersTimeout: 0,
      bodyTimeout: 0,
      connectTimeout: timeoutMs + 1_000,
    }
  }

  /** A free connection, or a new one. */
  take(): Connection {
    const free = this.#firstFree
    if (free === undefined || this.#open.size < this.#keepOpen) return this.#connect()
    this.#firstFree = free.nextFree
    if (this.#firstFree === undefined) this.#lastFree = undefined
    free.nextFree = undefined
    return free
  }

  giveBack(connection: Connection): void {
    if (this.#lastFree === undefined) this.#firstFree = connection
    else this.#lastFree.nextFree = connection
    this.#lastFree = connection
  }

  forget(connection: Connection): void {
    this.#open.delete(connection)
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open].map((connection) => connection.close()))
  }

  #connect(): Connection {
    const connection = new Connection(this, new Client(this.#origin, this.#clientOptions))
    this.#open.add(connection)
    return connection
  }
}

/**
 * One connection, which undici reopens when the other side has closed it. `#reply` is set exactly while a request is
 * under way that has not been abandoned; `nextFree` only while it is free.
 */
class Connection implements Dispatcher.DispatchHandler, Attempt {
  readonly #target: Target
  readonly #client: Client
  #reply: Reply | undefined
  #status = 0
  #instance = ''
  nextFree: Connection | undefined

  constructor(target: Target, client: Client) {
    this.#target = target
    this.#client = client
  }

  send(reply: Reply): this {
    this.#reply = reply
    this.#client.dispatch(this.#target.request, this)
    return this
  }

  abandon(): void {
    this.#target.forget(this)
    void this.close()
  }

  close(): Promise<void> {
    this.#reply = undefined
    return this.#client.destroy()
  }

  /** Nothing to do, but undici insists on it. */
  onRequestStart(): void {}

  onResponseStart(_: unknown, status: number, headers: Readonly<Record<string, string | string[] | undefined>>): void {
    const instance = headers['plimsoll-instance']
    this.#status = status
    this.#instance = typeof instance === 'string' ? instance : (instance?.[0] ?? '')
  }

  /** Dropped. Never pausing is what makes undici read on. */
  onResponseData(): void {}

  onResponseEnd(): void {
    this.#free()?.answered(this.#status < 400 ? 'ok' : 'httpError', this.#status, this.#instance)
  }

  onResponseError(_: unknown, error: Error): void {
    this.#free()?.failed(nameOf(error))
  }

  /** Makes the connection ready for the next request and returns who waits for the end of this one. */
  #free(): Reply | undefined {
    const reply = this.#reply
    this.#reply = undefined
    if (reply !== undefined) this.#target.giveBack(this)
    return reply
  }
}

/** `ECONNREFUSED`, `ECONNRESET`, `HPE_INVALID_CONSTANT`, or undici's words where its code says less. */
const nameOf = (error: Error & { code?: unknown }): string => {
  const cause = error.cause as { code?: unknown } | undefined
  const code = cause?.code ?? error.code
  return typeof code === 'string' && code !== 'UND_ERR_SOCKET' ? code : error.message
}
