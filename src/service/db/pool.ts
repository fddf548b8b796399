import pg from 'pg'
import type { Cancellation } from '../../kit/cancellation.ts'
import { databaseFailure, silence } from './failure.ts'
import { graceMs, Line } from './line.ts'
import type { ConnectionWatch, DatabaseObserver } from './observer.ts'
import { Places } from './places.ts'
import type { Statement, Value } from './statement.ts'

/**
 * Runs statements one after the other on one connection. On abort `run` rejects with `cancel.reason`, and the statement
 * is cancelled on the server.
 */
export type Session = {
  run<Row, Values extends readonly Value[]>(
    statement: Statement<Row, Values>,
    values: Values,
    cancel?: Cancellation,
  ): Promise<Row[]>
}

export type SessionPoolOptions = {
  readonly connection: pg.ClientConfig
  readonly size: number
  /** Requests that may wait for a connection; one more is refused at once. */
  readonly maxWaiting: number
  readonly acquireTimeoutMs: number
  readonly statementTimeoutMs: number
  /** Told of errors on connections that nobody is using. */
  readonly onIdleError: (error: Error) => void
  readonly observer?: DatabaseObserver | undefined
}

/** A look at the pool. `timeouts`: requests since the start that got no connection in time. */
export type PoolStats = Readonly<{ size: number; idle: number; waiting: number; timeouts: number }>

/** Connections for transactions and for long statements: one user at a time each, a bounded queue in front. */
export class SessionPool {
  readonly #pool: pg.Pool
  readonly #lines = new WeakMap<pg.ClientBase, Line>()
  readonly #places: Places
  readonly #patienceMs: number
  readonly #observer: DatabaseObserver | undefined
  /** Connections that could not be made in time. */
  #connectTimeouts = 0

  constructor(options: SessionPoolOptions) {
    this.#patienceMs = options.statementTimeoutMs + graceMs
    this.#observer = options.observer
    this.#places = new Places({ ...options, timeoutMs: options.acquireTimeoutMs })
    this.#pool = new pg.Pool({
      ...options.connection,
      max: options.size,
      connectionTimeoutMillis: options.acquireTimeoutMs,
      idleTimeoutMillis: 30_000,
      statement_timeout: options.statementTimeoutMs,
      idle_in_transaction_session_timeout: options.statementTimeoutMs,
      keepAlive: true,
    })
    // Without these a backend that is killed takes the whole process with it: the first for clients in the pool, the
    // second for clients that are lent, whose statement fails anyway.
    this.#pool.on('error', options.onIdleError)
    this.#pool.on('connect', (client) => {
      client.on('error', () => {})
      this.#lines.set(client, new Line(client, 'at-once', options.observer))
    })
  }

  get stats(): PoolStats {
    const { waiting, timeouts } = this.#places
    return {
      size: this.#pool.totalCount,
      idle: this.#pool.idleCount,
      waiting,
      timeouts: timeouts + this.#connectTimeouts,
    }
  }

  /**
   * Lends a connection to `use`. Fails with `database-busy` when too many wait or the wait takes too long, and on abort
   * with `cancel.reason` while it waits. Whatever `use` throws, the connection goes back to the pool unless it is lost or
   * still in a transaction.
   */
  async lend<Result>(use: (session: Session) => Promise<Result>, cancel?: Cancellation): Promise<Result> {
    cancel?.throwIfAborted()
    // What is turned away has not waited: in a flood its zeros would hide the waits of all others.
    this.#places.requireRoom()
    const waits = this.#places.free === 0 || this.#pool.idleCount === 0
    const watch = this.#observer?.connectionAsked(waits, cancel?.span)
    let client: pg.PoolClient
    try {
      client = await this.#acquire(cancel)
    } catch (error) {
      watch?.failed(error)
      throw databaseFailure(error)
    }
    watch?.got()
    return this.#use(client, use, watch)
  }

  end(): Promise<void> {
    return this.#pool.end()
  }

  async #acquire(cancel: Cancellation | undefined): Promise<pg.PoolClient> {
    await this.#places.take(cancel)
    const connecting = this.#pool.connect()
    try {
      return await unlessAborted(connecting, cancel)
    } catch (error) {
      if (error instanceof Error && connectTimeout.test(error.message)) this.#connectTimeouts++
      void this.#discard(connecting)
      throw error
    }
  }

  async #use<Result>(
    client: pg.PoolClient,
    use: (session: Session) => Promise<Result>,
    watch: ConnectionWatch | undefined,
  ): Promise<Result> {
    const line = this.#lines.get(client)!
    try {
      return await use(sessionOn(line, this.#patienceMs))
    } finally {
      watch?.gaveBack()
      client.release(!line.sound)
      this.#places.giveBack()
    }
  }

  /** Gives back, when it is there, a connection that nobody waits for any more. */
  async #discard(connecting: Promise<pg.PoolClient>): Promise<void> {
    await connecting.then(
      (client) => client.release(),
      () => {},
    )
    this.#places.giveBack()
  }
}

/** What pg's pool says of a wait in its own queue, its pool and its client of a connection in the making; none has a code. */
const connectTimeout = /timeout exceeded when trying to connect|due to connection timeout|^timeout expired$/

/** The same outcome, or `cancel.reason` if that comes first. */
const unlessAborted = async <Result>(work: Promise<Result>, cancel: Cancellation | undefined): Promise<Result> => {
  if (cancel === undefined) return work
  cancel.throwIfAborted()
  const aborted = Promise.withResolvers<never>()
  const abort = (): void => aborted.reject(cancel.reason)
  cancel.addEventListener('abort', abort, { once: true })
  try {
    return await Promise.race([work, aborted.promise])
  } finally {
    cancel.removeEventListener('abort', abort)
  }
}

/** What fails here has ended on the server too: the next statement meets neither it nor a cancel meant for it. */
const sessionOn = (line: Line, patienceMs: number): Session => ({
  async run(statement, values, cancel) {
    const watch = watchForSilence(line, patienceMs)
    try {
      return await line.run(statement, values, cancel)
    } finally {
      if (!line.quiet) await line.untilQuiet()
      watch.end()
    }
  },
})

/** Cuts the line unless it is ended in time. */
const watchForSilence = (line: Line, patienceMs: number): { readonly end: () => void } => {
  let ended = false
  const cut = (): void => {
    if (!ended) line.cut(silence())
  }
  // After a long turn of the event loop the answer may be there and just not be read: timers come before sockets.
  const timer = setTimeout(() => setImmediate(cut), patienceMs)
  const end = (): void => {
    ended = true
    clearTimeout(timer)
  }
  return { end }
}
