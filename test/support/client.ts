import pg from 'pg'

/** Lends a connection of its own to a database. */
export const withClient = async <Result>(url: string, use: (client: pg.Client) => Promise<Result>): Promise<Result> => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await use(client)
  } finally {
    await client.end()
  }
}

/** Runs statements on a connection of its own each, beside whatever is tested. */
export const sqlOn =
  (url: string) =>
  async <Row extends pg.QueryResultRow>(sql: string, values: unknown[] = []): Promise<Row[]> =>
    (await withClient(url, (client) => client.query<Row>(sql, values))).rows
