/** What a statement's parameter can be; everything travels as text, arrays in PostgreSQL's own form: `{1,2,3}`. */
export type Value = string | number | null

/** One row as the server sent it: a text or null for each column, in the order of the select list. */
export type Fields = readonly string[]

/** A named statement: prepared once on each connection, later only bound and executed. */
export type Statement<Row, Values extends readonly Value[] = readonly Value[]> = {
  readonly name: string
  readonly text: string
  /** Makes a row of its fields. A column that can be null must be handled here. */
  readonly row: (fields: Fields) => Row
  /** What the server must say that it has done, where that can be something else: it fails with an error then. */
  readonly tag: string | undefined
  /** What is told of it in spans and metrics. */
  readonly summary: StatementSummary
  /** Only for the type checker: the parameters that `text` expects. */
  readonly values?: Values
}

/**
 * Declares a statement.
 *
 * `row` replaces the result metadata that a driver asks the server for with every query: the columns are known, they
 * stand in `text`. That saves a message each way and all of the driver's type parsing.
 */
export const statement = <Row, Values extends readonly Value[]>(
  name: string,
  text: string,
  row: (fields: Fields) => Row,
  tag?: string,
): Statement<Row, Values> => ({ name, text, row, tag, summary: summaryOf(text) })

/** What a statement does to what, in few words. */
export type StatementSummary = {
  /** `SELECT world`, `SELECT pg_sleep`, `BEGIN`. */
  readonly text: string
  /** Its first word, in capitals. */
  readonly operation: string
  /** Its table, or the first of them; undefined where it has none. */
  readonly table: string | undefined
}

/**
 * Reads it from a statement as they are written here, without a `with` in front: `db.query.summary` of the semantic
 * conventions, https://opentelemetry.io/docs/specs/semconv/database/database-spans/#generating-a-summary-of-the-query
 */
const summaryOf = (text: string): StatementSummary => {
  const operation = /^\s*(\w+)/.exec(text)?.[1]?.toUpperCase() ?? ''
  const table = tableShapes[operation]?.exec(text)?.[1]
  const target = table ?? /^\s*select\s+(\w+)\(/i.exec(text)?.[1]
  return { text: target === undefined ? operation : `${operation} ${target}`, operation, table }
}

const tableShapes: Readonly<Record<string, RegExp>> = {
  SELECT: /\sfrom\s+(\w+)/i,
  INSERT: /^\s*insert\s+into\s+(\w+)/i,
  UPDATE: /^\s*update\s+(\w+)/i,
  DELETE: /^\s*delete\s+from\s+(\w+)/i,
}
