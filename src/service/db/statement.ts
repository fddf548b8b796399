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
): Statement<Row, Values> => ({ name, text, row, tag })
