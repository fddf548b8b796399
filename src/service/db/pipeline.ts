import pg from 'pg'
import type { ProblemCode } from '../../contract/problems.ts'
import type { Cancellation } from '../../kit/cancellation.ts'
import { Failure } from '../../kit/errors.ts'
import { silence, unavailable } from './failure.ts'
import { graceMs, Line, type Settles } from './line.ts'
import type { DatabaseObserver } from './observer.ts'
import type { Statement, Value } from './statement.ts'

export type PipelineOptions = {
  readonly connection: pg.ClientConfig
  /** The server ends a statement that runs longer; a connection that stays silent for longer is given up. */
  readonly statementTimeoutMs: number
  /** Told when it came up, and with the reason when it went down or an attempt to connect failed. */
  readonly onChange: (why?: Error) => void
  readonly observer?: DatabaseObserver | undefined
}

/** Between two attempts to connect. The database may come back at any moment, and clients wait for it. */
const retryMs = 200
const connectTimeoutMs = 1_000
const watchMs = 250
/** More than this on one connection is no queue but a flood. */
const maxInFlight = 65_536

type State =
  | { readonly name: 'connecting'; readonly client: pg.Client }
  | { readonly name: 'up'; readonly client: pg.Client; readonly line: Line; readonly watch: NodeJS.Timeout }
  | { readonly name: 'waiting'; readonly timer: NodeJS.Timeout }
  | { readonly name: 'ended' }

/**
 * One connection that many requests share: each statement is sent at once and answered in order, without waiting for
 * the answer to the one before. For short statements that need no transaction: a long one delays all behind it.
 *
 * ```
 * connecting --connected--> up --error or end--> waiting --200 ms--> connecting
 * connecting --error--> waiting          any --end()--> ended
 * ```
 * Only `up` takes statements. In every other state `run` fails at once: nothing waits for a database that is away.
 *
 * A statement that nobody waits for any more is cancelled when it is the server's turn to do it. Should the cancel be late
 * and hit the statement behind, that one is sent again; see `abandoned.ts`.
 */
export class Pipeline {
  readonly #options: PipelineOptions
  #state: State

  constructor(options: PipelineOptions) {
    this.#options = options
    this.#state = { name: 'connecting', client: this.#connect() }
  }

  get up(): boolean {
    return this.#state.name === 'up'
  }

  /** Statements that are sent and not answered. */
  get inFlight(): number {
    return this.#state.name === 'up' ? this.#state.line.inFlight : 0
  }

  /**
   * Executes a statement. Fails with `database-unavailable`, `database-busy`, `deadline-exceeded` or the SQL error, and on
   * abort with `cancel.reason`: see `Line.run`.
   */
  run<Row, Values extends readonly Value[]>(
    statement: Statement<Row, Values>,
    values: Values,
    cancel?: Cancellation,
    settles?: Settles,
  ): Promise<Row[]> {
    const state = this.#state
    if (state.name !== 'up') return Promise.reject(unavailable())
    if (state.line.inFlight >= maxInFlight) return Promise.reject(flooded())
    return state.line.run(statement, values, cancel, settles)
  }

  /** Answers what is in flight, then closes the connection; cuts it where the peer has vanished. */
  async end(): Promise<void> {
    const before = this.#state
    this.#enter({ name: 'ended' })
    if (!('client' in before)) return
    const timer = setTimeout(() => 'line' in before && before.line.cut(), this.#patienceMs)
    await before.client.end()
    clearTimeout(timer)
  }

  /** The one place where the state changes. */
  #enter(state: State, why?: Error): void {
    const before = this.#state
    if (before.name === 'ended') return
    if (before.name === 'up') clearInterval(before.watch)
    if (before.name === 'waiting') clearTimeout(before.timer)
    this.#state = state
    const { onChange } = this.#options
    if (state.name === 'up') onChange()
    else if (state.name === 'waiting') onChange(why)
  }

  #connect(): pg.Client {
    const { connection, statementTimeoutMs } = this.#options
    const client = new pg.Client({
      ...connection,
      pipeline: true,
      keepAlive: true,
      statement_timeout: statementTimeoutMs,
      connectionTimeoutMillis: connectTimeoutMs,
    })
    const lost = (error?: Error): void => this.#lost(client, error)
    client.on('error', lost)
    client.on('end', lost)
    client.connect().then(() => this.#connected(client), lost)
    return client
  }

  #connected(client: pg.Client): void {
    const state = this.#state
    if (state.name !== 'connecting' || state.client !== client) return void client.end()
    const line = new Line(client, 'after-ready-events', this.#options.observer)
    this.#enter({ name: 'up', client, line, watch: setInterval(this.#silenceWatch(line), watchMs).unref() })
  }

  #lost(client: pg.Client, why?: Error): void {
    const state = this.#state
    // A lost connection says so more than once: by its error, its end, the failed attempt to connect.
    if (!('client' in state) || state.client !== client) return
    const retry = (): void => this.#enter({ name: 'connecting', client: this.#connect() })
    this.#enter({ name: 'waiting', timer: setTimeout(retry, retryMs) }, firstOf(why))
  }

  /** A peer that vanished without a word leaves statements without an answer for as long as TCP keeps trying. */
  #silenceWatch(line: Line): () => void {
    const patience = Math.ceil(this.#patienceMs / watchMs)
    let silent = 0
    let { answered } = line
    return () => {
      silent = line.inFlight > 0 && line.answered === answered ? silent + 1 : 0
      answered = line.answered
      if (silent >= patience) line.cut(silence())
    }
  }

  get #patienceMs(): number {
    return this.#options.statementTimeoutMs + graceMs
  }
}

// A host name with several addresses fails with one error for each, under one that says nothing.
const firstOf = (error?: Error): Error | undefined =>
  error instanceof AggregateError && error.message === '' ? (error.errors[0] as Error) : error

const flooded = (): Failure<ProblemCode> =>
  new Failure('database-busy', { detail: `${maxInFlight} statements are waiting for an answer`, retryAfterSeconds: 1 })
