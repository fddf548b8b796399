/** The database that every server of the bench shares: made anew each time, so that all begin with the same pages. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Client } from 'pg'
import { withClient } from '../support/client.ts'

const execute = promisify(execFile)

const databaseName = 'plimsoll_bench'

/** Commits do not wait for the disk, as in TechEmpower's set-up: the bench compares servers, not disks. */
const recreate = async (client: Client): Promise<void> => {
  await client.query(`DROP DATABASE IF EXISTS ${databaseName} WITH (FORCE)`)
  await client.query(`CREATE DATABASE ${databaseName}`)
  await client.query(`ALTER DATABASE ${databaseName} SET synchronous_commit = off`)
}

/** A thousand items, one second apart, so that every server lists the same hundred first. */
const fill = async (client: Client): Promise<void> => {
  await client.query(`
    INSERT INTO items (id, name, note, quantity, created_at, updated_at)
    SELECT gen_random_uuid(), 'Item ' || number, 'Made for the bench, number ' || number, number, at, at
    FROM generate_series(1, 1000) AS number, LATERAL (SELECT now() - number * interval '1 second') AS made (at)
  `)
  await client.query('VACUUM ANALYZE')
}

/**
 * Makes and fills the bench's database on the server of `serverUrl`, with the migrations that `entry` brings.
 * Returns its URL.
 */
export const prepareDatabase = async (serverUrl: string, entry: string): Promise<string> => {
  await withClient(serverUrl, recreate)
  const url = new URL(serverUrl)
  url.pathname = databaseName
  await execute(process.execPath, [entry, 'migrate'], { env: { ...process.env, DATABASE_URL: url.href } })
  await withClient(url.href, fill)
  return url.href
}
