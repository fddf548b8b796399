import pg from 'pg'
import { databaseFailure, isStalePlan, isUnavailable } from './failure.ts'
import { type Flush, Outbox, type Sink } from './outbox.ts'
import type { Fields, Statement, Value } from './statement.ts'

/** How much later than the server's own limit for a statement an answer may come before the peer counts as gone. */
export const graceMs = 500

/** The part of pg's connection that its types leave out. */
type Wire = {
  readonly stream: Sink & { destroy(error?: Error): void }
  readonly submittedNamedStatements: Record<string, string>
  parsedStatements: Record<string, string>
}

/** One of pg's clients, connected, and the outbox that its statements are written through. */
export class Line {
  readonly outbox: Outbox
  readonly #client: pg.ClientBase
  readonly #wire: Wire
  #lost = false

  constructor(client: pg.ClientBase, flush: Flush) {
    this.#client = client
    this.#wire = (client as unknown as { connection: Wire }).connection
    this.outbox = new Outbox(this.#wire.stream, flush)
  }

  /** The server process behind it. */
  get processId(): number {
    return (this.#client as unknown as { processID: number }).processID
  }

  /** Whether a next user can have it: no statement met a lost connection, and no transaction is open. */
  get sound(): boolean {
    return !this.#lost && !this.#inTransaction
  }

  /** Executes a statement. Calls one of the two functions once, `reject` with what `failure.ts` makes of an error. */
  execute<Row, Values extends readonly Value[]>(
    statement: Statement<Row, Values>,
    values: Values,
    resolve: (rows: Row[]) => void,
    reject: (error: unknown) => void,
  ): void {
    this.#submit(new PreparedQuery(this, statement, values, resolve, reject))
  }

  /** Cuts the connection to a peer that does not answer: what is in flight fails. */
  cut(why?: Error): void {
    this.#wire.stream.destroy(why)
  }

  /** What an error of one of its queries means. */
  failure(error: unknown): unknown {
    const failure = databaseFailure(error)
    this.#lost ||= isUnavailable(failure)
    return failure
  }

  /**
   * Sends a query again that met a stale plan: once, and not in a transaction, which the error has ended. Outside of
   * one a statement that fails leaves nothing behind, so nothing is done twice. Returns whether it was sent.
   */
  resend(query: Resendable): boolean {
    // What happened to one prepared statement has happened to all, or costs each of them one more message.
    this.#wire.parsedStatements = {}
    if (query.resent || this.#inTransaction) return false
    query.resent = true
    this.#submit(query)
    return true
  }

  get #inTransaction(): boolean {
    return this.#client.getTransactionStatus() !== 'I'
  }

  #submit(query: object): void {
    this.#client.query(query as pg.Submittable)
  }
}

type Resendable = { resent: boolean }

// pg's own constructor sets up an event emitter and a result, and neither is used here. What pg asks for is an
// instance of its Query: its client refuses to pipeline anything else.
const QueryShape = function QueryShape() {} as unknown as new () => object
QueryShape.prototype = pg.Query.prototype

/** One execution of a statement, in the form that pg's client takes through `client.query()`. */
class PreparedQuery<Row> extends QueryShape implements Resendable {
  readonly name: string
  readonly text: string
  resent = false
  readonly #line: Line
  readonly #statement: Statement<Row>
  readonly #values: readonly Value[]
  readonly #resolve: (rows: Row[]) => void
  readonly #reject: (error: unknown) => void
  readonly #found: Row[] = []
  #failure: unknown = undefined

  constructor(
    line: Line,
    statement: Statement<Row>,
    values: readonly Value[],
    resolve: (rows: Row[]) => void,
    reject: (error: unknown) => void,
  ) {
    super()
    this.name = statement.name
    this.text = statement.text
    this.#line = line
    this.#statement = statement
    this.#values = values
    this.#resolve = resolve
    this.#reject = reject
  }

  /** pg calls it when it is this query's turn to be sent. */
  submit({ parsedStatements, submittedNamedStatements }: Wire): null {
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

  handleReadyForQuery(): void {
    if (this.#failure === undefined) this.#resolve(this.#found)
    else this.#reject(this.#failure)
  }

  handleError(error: unknown): void {
    if (isStalePlan(error) && this.#line.resend(this)) return
    this.#reject(this.#line.failure(error))
  }

  handleRowDescription(): void {}
  handleCommandComplete(): void {}
  handleEmptyQuery(): void {}
  handlePortalSuspended(): void {}
}
