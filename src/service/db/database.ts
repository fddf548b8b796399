import type pg from 'pg'
import type { ProblemCode } from '../../contract/problems.ts'
import { type Cancellation, unstoppable } from '../../kit/cancellation.ts'
import { Failure } from '../../kit/errors.ts'
import { unavailable } from './failure.ts'
import type { Pipeline } from './pipeline.ts'
import type { DatabaseObserver } from './observer.ts'
import type { PoolStats, Session, SessionPool } from './pool.ts'
import { begin, commit, rollback } from './queries/transaction-control.ts'
import type { Statement, Value } from './statement.ts'

export type DatabaseOptions = {
  /** `postgres://user:password@host:port/database` */
  readonly url: string
  readonly applicationName: string
  /** Connections that requests share. */
  readonly pipelines: number
  /** Connections for transactions and long statements. */
  readonly poolSize: number
  readonly maxWaiting: number
  readonly acquireTimeoutMs: number
  readonly statementTimeoutMs: number
  /** Told of each change between reachable and not, or of its reason, and of errors on idle connections. */
  readonly onEvent: (event: 'reachable' | 'unreachable' | 'idle-error', why?: Error) => void
  /** Default: nobody. */
  readonly observer?: DatabaseObserver | undefined
}

/** The service's database: short statements share a connection, transactions and long statements borrow one. */
export class Database implements Session, AsyncDisposable {
  readonly #options: DatabaseOptions
  /** Empty and undefined until `open`. */
  #pipelines: readonly Pipeline[] = []
  #pool: SessionPool | undefined
  #closed: Promise<void> | undefined
  /** The last change that `onEvent` was told of. Each attempt to connect fails anew, about five times a second. */
  #told = ''

  constructor(options: DatabaseOptions) {
    this.#options = options
  }

  /**
   * Loads the driver and starts to connect. Until then every use fails as while the database is away: a service that
   * starts listens first.
   */
  async open(): Promise<void> {
    const [{ Pipeline }, { SessionPool }] = await Promise.all([import('./pipeline.ts'), import('./pool.ts')])
    if (this.#closed !== undefined) return
    const options = this.#options
    const connection: pg.ClientConfig = {
      connectionString: options.url,
      application_name: options.applicationName,
      // Timestamps are read as text: whatever the server's defaults are, they come in this one form.
      options: '-c TimeZone=UTC -c DateStyle=ISO',
    }
    const { statementTimeoutMs, onEvent, observer } = options
    const onChange = (why?: Error): void => this.#changed(why, onEvent)
    const newPipeline = (): Pipeline => new Pipeline({ connection, statementTimeoutMs, onChange, observer })
    this.#pipelines = Array.from({ length: options.pipelines }, newPipeline)
    this.#pool = new SessionPool({
      ...options,
      connection,
      size: options.poolSize,
      onIdleError: (error) => onEvent('idle-error', error),
    })
  }

  get reachable(): boolean {
    return this.#pipelines.some((pipeline) => pipeline.up)
  }

  get stats(): PoolStats & { readonly poolSize: number; readonly pipelined: number } {
    return {
      ...(this.#pool?.stats ?? noSessions),
      poolSize: this.#options.poolSize,
      pipelined: this.#pipelines.reduce((sum, { inFlight }) => sum + inFlight, 0),
    }
  }

  /**
   * Executes a short statement on the shared connection with the least to do. On abort rejects with `cancel.reason` at
   * once; on the server the statement is cancelled as soon as those before it are done.
   */
  run<Row, Values extends readonly Value[]>(
    statement: Statement<Row, Values>,
    values: Values,
    cancel?: Cancellation,
  ): Promise<Row[]> {
    return this.#leastBusy()?.run(statement, values, cancel) ?? Promise.reject(unavailable())
  }

  /**
   * The same for who must know whether the statement had its effect. On abort it is cancelled, too; rejects with
   * `cancel.reason` once the server says that it did nothing, and resolves where it was done before that.
   */
  change<Row, Values extends readonly Value[]>(
    statement: Statement<Row, Values>,
    values: Values,
    cancel: Cancellation,
  ): Promise<Row[]> {
    return this.#leastBusy()?.run(statement, values, cancel, 'when-answered') ?? Promise.reject(unavailable())
  }

  /**
   * Executes a statement that may take long on a connection of its own. On abort rejects with `cancel.reason`, once the
   * statement has ended on the server.
   */
  runLong<Row, Values extends readonly Value[]>(
    statement: Statement<Row, Values>,
    values: Values,
    cancel: Cancellation,
  ): Promise<Row[]> {
    return this.#lend((session) => session.run(statement, values, cancel), cancel)
  }

  /**
   * Runs `use` in one transaction: committed when it returns, rolled back when it throws. On abort its statement is
   * cancelled, the transaction rolled back, and `cancel.reason` thrown; an abort during the commit comes too late.
   * Throws also when one of its statements failed and `use` returned nevertheless: nothing of it is then stored.
   */
  transaction<Result>(use: (session: Session) => Promise<Result>, cancel?: Cancellation): Promise<Result> {
    const span = cancel?.span
    const frame = span === undefined ? undefined : unstoppable(span)
    return this.#lend(async (session) => {
      await session.run(begin, [], frame)
      try {
        const result = await use(cancel === undefined ? session : cancelledBy(cancel, session))
        cancel?.throwIfAborted()
        await session.run(commit, [], frame)
        return result
      } catch (error) {
        // Where the connection is gone, so is the transaction.
        await session.run(rollback, [], frame).catch(() => {})
        throw error
      }
    }, cancel)
  }

  /** A pipeline came up or went down. */
  #changed(why: Error | undefined, onEvent: DatabaseOptions['onEvent']): void {
    const event = this.reachable ? 'reachable' : 'unreachable'
    const told = this.reachable ? event : `${event}: ${why?.message}`
    if (told === this.#told) return
    this.#told = told
    if (this.reachable) onEvent(event)
    else onEvent(event, why)
  }

  /** Waits for what is running, then closes every connection. A second call waits for the first. */
  [Symbol.asyncDispose](): Promise<void> {
    return (this.#closed ??= this.#close())
  }

  async #close(): Promise<void> {
    await Promise.all([this.#pool?.end(), ...this.#pipelines.map((pipeline) => pipeline.end())])
  }

  #lend<Result>(use: (session: Session) => Promise<Result>, cancel: Cancellation | undefined): Promise<Result> {
    return this.#pool?.lend(use, cancel) ?? Promise.reject(unavailable())
  }

  #leastBusy(): Pipeline | undefined {
    let best = this.#pipelines[0]
    for (const pipeline of this.#pipelines) {
      if (pipeline.up && (!best?.up || pipeline.inFlight < best.inFlight)) best = pipeline
    }
    return best
  }
}

/** A session whose statements end with `cancel`, unless they are given another one. */
const cancelledBy = (cancel: Cancellation, session: Session): Session => ({
  run: (statement, values, own = cancel) => session.run(statement, values, own),
})

const noSessions = { size: 0, idle: 0, waiting: 0, timeouts: 0 }

/** The database, for a route that cannot do without; throws `database-not-configured` where there is none. */
export const requireDatabase = (database: Database | undefined): Database => {
  if (database === undefined) {
    throw new Failure<ProblemCode>('database-not-configured', { detail: 'set DATABASE_URL to use this route' })
  }
  return database
}
