/**
 * One PostgreSQL for all tests of a process: started when a test first asks for a database, stopped and removed
 * after the last one. Several test processes may run at once, each with its own server.
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import pg from 'pg'
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../src/lab/fleet/postgres.ts'

const folders: string[] = []
let starting: Promise<EmbeddedPostgres> | undefined

// Made when the module is loaded: a hook made inside a test would run at the end of that test.
after(async () => {
  await (await starting?.catch(() => undefined))?.stop()
  await Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true })))
})

/** A folder for the tests of this process, which other users of the machine may enter; removed after them. */
export const makeTestFolder = async (): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'plimsoll-test-'))
  folders.push(folder)
  // As root, PostgreSQL runs as another user.
  await chmod(folder, 0o755)
  return folder
}

/** Below the ports that systems give to outgoing connections; spread, so that test processes rarely meet. */
const firstPort = 20_000 + ((process.pid * 16) % 10_000)

/** Nothing here must survive a crash of the machine. */
const settings = { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off', autovacuum: 'off' }

/** The server of this test process. */
export const testServer = (): Promise<EmbeddedPostgres> => (starting ??= startServer())

const startServer = async (): Promise<EmbeddedPostgres> =>
  startEmbeddedPostgres({ dataDir: join(await makeTestFolder(), 'postgres'), port: firstPort, settings })

let made = 0

/** Makes an empty database and returns its URL. */
export const freshDatabase = async (): Promise<string> => {
  const url = new URL((await testServer()).url)
  const name = `test_${(made += 1)}`
  const client = new pg.Client({ connectionString: url.href })
  await client.connect()
  try {
    await client.query(`CREATE DATABASE ${name}`)
  } finally {
    await client.end()
  }
  url.pathname = name
  return url.href
}
