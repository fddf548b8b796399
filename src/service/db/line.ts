import pg from 'pg'
import type { Cancellation } from '../../kit/cancellation.ts'
import { Abandoned, type Conveyor } from './abandoned.ts'
import { type Backend, requestCancel } from './cancel-request.ts'
import { databaseFailure, isCancelled, isStalePlan, isUnavailable } from './failure.ts'
import type { Span } from '../../kit/trace.ts'
import type { DatabaseObserver } from './observer.ts'
import { type Flush, Outbox, type Sink } from './outbox.ts'
import type { Fields, Statement, Value } from './statement.ts'

/** How much later than the server's own limit for a statement an answer may come before the peer counts as gone. */
export const graceMs = 500

/** How often a statement is sent again through no fault of its own. */
const mostResends = 5

/** The part of pg's connection that its types leave out. */
type Wire = {
  readonly stream: Sink & { destroy(error?: Error): void }
  readonly submittedNamedStatements: Record<string, string>
  parsedStatements: Record<string, string>
}

/** One of pg's clients, connected, and the outbox that its statements are written through. */
export class Line implements Conveyor {
  readonly outbox: Outbox
  readonly observer: DatabaseObserver | undefined
  readonly #client: pg.ClientBase
  readonly #wire: Wire
  readonly #abandoned = new Abandoned(this)
  #sent = 0
  #answered = 0
  #lost = false

  constructor(client: pg.ClientBase, flush: Flush, observer?: DatabaseObserver) {
    this.observer = observer
    this.#client = client
    this.#wire = (client as unknown as { connection: Wire }).connection
    this.outbox = new Outbox(this.#wire.stream, flush)
  }

  /** Statements sent so far; one that was sent again counts again. */
  get sent(): number {
    return this.#sent
  }

  /** Statements that have their answer or their error. */
  get answered(): number {
    return this.#answered
  }

  /** Statements that are sent and not answered. */
  get inFlight(): number {
    return this.#sent - this.#answered
  }

  /** Whether a next user can have it: no statement met a lost connection, and no transaction is open. */
  get sound(): boolean {
    return !this.#lost && !this.#inTransaction
  }

  /** Whether no statement is being cancelled on the server. */
  get quiet(): boolean {
    return this.#abandoned.quiet
  }

  /** Resolves when what was abandoned has ended on the server, and no cancel can hit what is sent from then on. */
  untilQuiet(): Promise<void> {
    return this.#abandoned.untilQuiet()
  }

  /**
   * Executes a statement. Rejects with what `failure.ts` makes of an error. On abort sees to it that the statement ends
   * on the server, and rejects with `cancel.reason`: at once, or when the server has answered. In the latter case a
   * statement that was done before the cancel came resolves nevertheless.
   */
  run<Row, Values extends readonly Value[]>(
    statement: Statement<Row, Values>,
    values: Values,
    cancel?: Cancellation,
    settles: Settles = 'at-once',
  ): Promise<Row[]> {
    if (cancel?.aborted === true) return Promise.reject(cancel.reason)
    const query = new PreparedQuery(this, statement, values, cancel, settles)
    const outcome = query.outcome()
    this.#submit(query)
    return outcome
  }

  /** Cuts the connection to a peer that does not answer: what is in flight fails. */
  cut(why?: Error): void {
    this.#wire.stream.destroy(why)
  }

  /** Nobody waits any more for the statement with this turn. */
  abandon(turn: number): void {
    this.#abandoned.add(turn)
  }

  cancelOnServer(): Promise<void> {
    return requestCancel(this.#client as unknown as Backend)
  }

  /** One of its queries has its answer or its error. */
  goneOn(): void {
    this.#answered++
    if (!this.#abandoned.quiet) this.#abandoned.goneOn()
  }

  /** What an error of one of its queries means. */
  failure(error: unknown): unknown {
    const failure = databaseFailure(error)
    this.#lost ||= isUnavailable(failure)
    return failure
  }

  /**
   * Sends a query again that met a stale plan or a cancel that was not for it: not in a transaction, which the error has
   * ended. Outside of one a statement that fails leaves nothing behind, so nothing is done twice. Returns whether it
   * was sent.
   */
  resend(query: Resendable, error: unknown): boolean {
    const isStale = isStalePlan(error)
    // What happened to one prepared statement has happened to all, or costs each of them one more message.
    if (isStale) this.#wire.parsedStatements = {}
    const isHit = isCancelled(error) && this.#abandoned.mayHaveHit(query.turn)
    if (!(isStale || isHit) || query.resends >= mostResends || this.#inTransaction) return false
    query.resends++
    this.#submit(query)
    return true
  }

  get #inTransaction(): boolean {
    return this.#client.getTransactionStatus() !== 'I'
  }

  #submit(query: Resendable): void {
    query.turn = this.#sent++
    this.#client.query(query as unknown as pg.Submittable)
  }
}

/** When an abandoned statement is settled for who ran it. */
export type Settles = 'at-once' | 'when-answered'

type Resendable = { turn: number; resends: number }

const once = { once: true } as const

// pg's own constructor sets up an event emitter and a result, and neither is used here. What pg asks for is an
// instance of its Query: its client refuses to pipeline anything else.
const QueryShape = function QueryShape() {} as unknown as new () => object
QueryShape.prototype = pg.Query.prototype

/** One execution of a statement, in the form that pg's client takes through `client.query()`. */
class PreparedQuery<Row> extends QueryShape implements Resendable {
  readonly name: string
  readonly text: string
  /** Its place in the order of the statements of its line. */
  turn = 0
  resends = 0
  readonly #line: Line
  readonly #statement: Statement<Row>
  readonly #values: readonly Value[]
  readonly #cancel: Cancellation | undefined
  readonly #abort: (() => void) | undefined
  readonly #startMs: number
  readonly #span: Span | undefined
  /** Undefined from when it has been told of the end. */
  #observer: DatabaseObserver | undefined
  #found: Row[] = []
  #failure: unknown = undefined
  #resolve!: (rows: Row[]) => void
  #reject!: (error: unknown) => void

  constructor(
    line: Line,
    statement: Statement<Row>,
    values: readonly Value[],
    cancel: Cancellation | undefined,
    settles: Settles,
  ) {
    super()
    this.name = statement.name
    this.text = statement.text
    this.#line = line
    this.#statement = statement
    this.#values = values
    this.#cancel = cancel
    this.#abort = cancel === undefined ? undefined : () => this.#abandon(cancel.reason, settles)
    const { observer } = line
    this.#observer = observer
    this.#startMs = observer === undefined ? 0 : observer.now()
    const parent = observer === undefined ? undefined : cancel?.span
    this.#span = parent === undefined ? undefined : observer!.span(statement, parent, this.#startMs)
  }

  /** Its rows or error; to be asked for once, before it is submitted. */
  outcome(): Promise<Row[]> {
    if (this.#abort !== undefined) this.#cancel!.addEventListener('abort', this.#abort, once)
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  /** pg calls it when it is this query's turn to be sent, and fails it with what is returned. */
  submit({ parsedStatements, submittedNamedStatements }: Wire): unknown {
    if (this.#cancel?.aborted === true) return this.#cancel.reason
    const { name, text } = this
    const { outbox } = this.#line
    if (parsedStatements[name] === undefined && submittedNamedStatements[name] === undefined) {
      submittedNamedStatements[name] = text
      outbox.close(name)
      outbox.parse(name, text)
    }
    outbox.execute(name, this.#values)
    return null
  }

  handleDataRow({ fields }: { fields: Fields }): void {
    try {
      this.#found.push(this.#statement.row(fields))
    } catch (error) {
      this.#failure ??= error
    }
  }

  handleCommandComplete({ text }: { text: string }): void {
    const { tag } = this.#statement
    if (tag !== undefined && tag !== text) this.#failure ??= new Error(`the server answered ${text} to "${this.text}"`)
  }

  handleReadyForQuery(): void {
    this.#line.goneOn()
    this.#forget()
    this.#tell(this.#failure)
    if (this.#failure === undefined) this.#resolve(this.#found)
    else this.#reject(this.#failure)
  }

  handleError(error: unknown): void {
    this.#line.goneOn()
    const unwanted = this.#cancel?.aborted === true
    if (!unwanted && this.#line.resend(this, error)) {
      this.#found = []
      this.#failure = undefined
      return
    }
    this.#forget()
    const isOurs = unwanted && isCancelled(error)
    this.#tell(isOurs ? this.#cancel.reason : error)
    this.#reject(isOurs ? this.#cancel.reason : this.#line.failure(error))
  }

  handleRowDescription(): void {}
  handleEmptyQuery(): void {}
  handlePortalSuspended(): void {}

  #forget(): void {
    if (this.#abort !== undefined) this.#cancel!.removeEventListener('abort', this.#abort)
  }

  #abandon(reason: unknown, settles: Settles): void {
    if (settles === 'at-once') {
      this.#tell(reason)
      this.#reject(reason)
    }
    this.#line.abandon(this.turn)
  }

  #tell(error: unknown): void {
    const observer = this.#observer
    if (observer === undefined) return
    this.#observer = undefined
    observer.statementEnded(this.#statement, this.#startMs, this.#span, error)
  }
}
