import pg from 'pg'
import type { ProblemCode } from '../../contract/problems.ts'
import { Failure } from '../../kit/errors.ts'
import { databaseFailure, silence } from './failure.ts'
import { graceMs, Line } from './line.ts'
import type { Statement, Value } from './statement.ts'

/** Runs statements one after the other on one connection. */
export type Session = {
  run<Row, Values extends readonly Value[]>(statement: Statement<Row, Values>, values: Values): Promise<Row[]>
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
}

/** What is lent: a session, and the server process behind it. */
export type LentSession = Session & { readonly processId: number }

/** Connections for transactions and for long statements: one user at a time each, a bounded queue in front. */
export class SessionPool {
  readonly #pool: pg.Pool
  readonly #lines = new WeakMap<pg.ClientBase, Line>()
  readonly #options: SessionPoolOptions

  constructor(options: SessionPoolOptions) {
    this.#options = options
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
      this.#lines.set(client, new Line(client, 'at-once'))
    })
  }

  get stats(): { readonly size: number; readonly idle: number; readonly waiting: number } {
    return { size: this.#pool.totalCount, idle: this.#pool.idleCount, waiting: this.#pool.waitingCount }
  }

  /**
   * Lends a connection to `use`. Fails with `database-busy` when too many wait or the wait takes too long. Whatever `use`
   * throws, the connection goes back to the pool unless it is lost or still in a transaction.
   */
  async lend<Result>(use: (session: LentSession) => Promise<Result>): Promise<Result> {
    const client = await this.#acquire()
    const line = this.#lines.get(client)!
    try {
      return await use(sessionOn(line, this.#options.statementTimeoutMs + graceMs))
    } finally {
      client.release(!line.sound)
    }
  }

  end(): Promise<void> {
    return this.#pool.end()
  }

  async #acquire(): Promise<pg.PoolClient> {
    const { maxWaiting, acquireTimeoutMs, size } = this.#options
    const { waitingCount, idleCount, totalCount } = this.#pool
    // Those that an idle connection or a new one is there for wait for no one, though pg may count them for a moment.
    const free = idleCount + size - totalCount
    if (waitingCount >= maxWaiting + free) throw busy(`${maxWaiting} requests are waiting for a connection`)
    try {
      return await this.#pool.connect()
    } catch (error) {
      // pg's words for a wait in its queue; those for a connection that cannot be made are others.
      if ((error as Error).message === 'timeout exceeded when trying to connect') {
        throw busy(`no connection became free within ${acquireTimeoutMs} ms`)
      }
      throw databaseFailure(error)
    }
  }
}

const sessionOn = (line: Line, patienceMs: number): LentSession => ({
  processId: line.processId,
  run: <Row, Values extends readonly Value[]>(statement: Statement<Row, Values>, values: Values) =>
    new Promise<Row[]>((resolve, reject) => {
      const watch = watchForSilence(line, patienceMs)
      const answered = (rows: Row[]): void => {
        watch.end()
        resolve(rows)
      }
      const failed = (error: unknown): void => {
        watch.end()
        reject(error)
      }
      line.execute(statement, values, answered, failed)
    }),
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

const busy = (detail: string): Failure<ProblemCode> => new Failure('database-busy', { detail, retryAfterSeconds: 1 })
