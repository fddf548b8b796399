import type { Span } from '../../kit/trace.ts'
import type { Statement } from './statement.ts'

/** Told of what the database is asked. Its times are in ms on a clock of its own. */
export type DatabaseObserver = {
  /** The time; asked when a statement is handed over. */
  now(): number
  /** Makes the span of a statement that is handed over for a recorded request. */
  span(statement: Statement<unknown>, parent: Span, startMs: number): Span
  /**
   * A statement has its answer, its error, or nobody who waits for it; told once, however often it was sent. `span` is
   * what `span` has made of it. `error`: what the server or the connection said, or the reason of the abort.
   */
  statementEnded(statement: Statement<unknown>, startMs: number, span: Span | undefined, error?: unknown): void
  /** A connection of the pool is asked for; `waits`: none is there to be had at once. */
  connectionAsked(waits: boolean, parent: Span | undefined): ConnectionWatch
}

/** Told what becomes of one who asked for a connection: `got` and later `gaveBack`, or `failed`. */
export type ConnectionWatch = {
  got(): void
  gaveBack(): void
  failed(why: unknown): void
}
