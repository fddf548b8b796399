/** A connection whose server answers statements in the order in which they were sent. */
export type Conveyor = {
  /** How many statements were sent so far; the turn of the next one. */
  readonly sent: number
  /** How many have their answer; the turn of the one that the server is at. */
  readonly answered: number
  /** Cancels what the server is at. Resolves when the server has been told, or could not be. */
  cancelOnServer(): Promise<void>
}

/** A statement that is as short as most has ended by then: a cancel would come too late, and hit the one behind it. */
const firstPatienceMs = 2
const mostPatienceMs = 100

/**
 * The statements on a connection that nobody waits for any more, by their turns. A cancel names a connection, no
 * statement, so only the one that the server is at can be cancelled; others are when it is their turn.
 *
 * ```
 * idle --the server is at an abandoned one--> patient --some ms--> asking --the server was told--> patient or idle
 * patient --the server has gone on--> patient or idle
 * ```
 * A cancel is asked for again, ever more patiently, until the statement has ended: one that overtakes its statement hits
 * nothing. One that comes late hits a statement that somebody waits for: those that it may hit are the ones that were
 * sent before the server had been told, `mayHaveHit`.
 */
export class Abandoned {
  readonly #conveyor: Conveyor
  readonly #turns = new Set<number>()
  #timer: NodeJS.Timeout | undefined
  #asking = false
  #patienceMs = firstPatienceMs
  /** Turns before this one may have been hit by a cancel. */
  #exposed = 0
  readonly #whenQuiet: (() => void)[] = []

  constructor(conveyor: Conveyor) {
    this.#conveyor = conveyor
  }

  /** Nothing is left to cancel, and no cancel is on its way. */
  get quiet(): boolean {
    return this.#turns.size === 0 && !this.#asking
  }

  untilQuiet(): Promise<void> {
    return this.quiet ? Promise.resolve() : new Promise((resolve) => this.#whenQuiet.push(resolve))
  }

  /** Whether it may be one of our cancels that ended the statement with this turn. */
  mayHaveHit(turn: number): boolean {
    return this.#asking || turn < this.#exposed
  }

  add(turn: number): void {
    this.#turns.add(turn)
    this.#attend()
  }

  /** The server has gone on to the next statement. Need not be called while `quiet`. */
  goneOn(): void {
    this.#turns.delete(this.#conveyor.answered - 1)
    this.#patienceMs = firstPatienceMs
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#attend()
  }

  #attend(): void {
    if (this.quiet) for (const tell of this.#whenQuiet.splice(0)) tell()
    if (this.#asking || this.#timer !== undefined || !this.#turns.has(this.#conveyor.answered)) return
    this.#timer = setTimeout(() => void this.#ask(), this.#patienceMs)
  }

  async #ask(): Promise<void> {
    this.#timer = undefined
    this.#patienceMs = Math.min(2 * this.#patienceMs, mostPatienceMs)
    this.#asking = true
    await this.#conveyor.cancelOnServer()
    this.#asking = false
    this.#exposed = this.#conveyor.sent
    this.#attend()
  }
}
