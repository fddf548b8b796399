import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import pg from 'pg'
import { migrate, type Migration, readMigrations } from '../../src/service/db/migrate.ts'
import { freshDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'

const limits = { timeout: 20_000 }

const migration = (version: number, sql: string): Migration => ({
  version,
  name: `${String(version).padStart(4, '0')}-test.sql`,
  sql,
  checksum: createHash('sha256').update(sql).digest('hex'),
})

const query = async <Row extends pg.QueryResultRow>(url: string, sql: string): Promise<Row[]> => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query<Row>(sql)).rows
  } finally {
    await client.end()
  }
}

const appliedVersions = async (url: string): Promise<number[]> => {
  const rows = await query<{ version: number }>(url, 'select version from schema_migrations order by version')
  return rows.map(({ version }) => version)
}

const hasTable = async (url: string, name: string): Promise<boolean> =>
  (await query(url, `select 1 from pg_tables where schemaname = 'public' and tablename = '${name}'`)).length === 1

test('five replicas that start together on an empty database apply each file exactly once', limits, async () => {
  const url = await freshDatabase()
  const known = await readMigrations()
  const reports = await Promise.all(Array.from({ length: 5 }, () => migrate(url)))
  assert.deepEqual(
    reports.flatMap(({ applied }) => applied),
    known.map(({ name }) => name),
  )
  assert.deepEqual(new Set(reports.map(({ current }) => current)), new Set([known.at(-1)!.name]))
  assert.deepEqual(
    await appliedVersions(url),
    known.map(({ version }) => version),
  )
  assert.deepEqual(await query(url, 'select count(*)::integer, min(id), max(id) from world'), [
    { count: 10_000, min: 1, max: 10_000 },
  ])
})

test('migrations are numbered from 1 without a gap, and named by their number', async () => {
  const known = await readMigrations()
  assert.ok(known.length >= 3)
  assert.deepEqual(
    known.map(({ version }) => version),
    known.map((_, i) => i + 1),
  )
  for (const { version, name } of known) assert.ok(name.startsWith(String(version).padStart(4, '0')))
})

test('an applied migration that was changed since is refused, and nothing else is applied', limits, async () => {
  const url = await freshDatabase()
  await migrate(url, [migration(1, 'create table one ()')])
  const changed = [migration(1, 'create table one (id integer)'), migration(2, 'create table two ()')]
  await assert.rejects(migrate(url, changed), /0001-test\.sql was applied with other contents/)
  assert.deepEqual(await appliedVersions(url), [1])
  assert.equal(await hasTable(url, 'two'), false)
})

test('an older release starts on a database that a newer one has migrated', limits, async () => {
  const url = await freshDatabase()
  const older = [migration(1, 'create table one ()')]
  await migrate(url, [...older, migration(2, 'create table two ()')])
  assert.deepEqual(await migrate(url, older), { applied: [], current: '0001-test.sql' })
  assert.deepEqual(await appliedVersions(url), [1, 2])
})

test('a second run finds nothing to do, a later one only what is new', limits, async () => {
  const url = await freshDatabase()
  const first = migration(1, 'create table one ()')
  const second = migration(2, 'create table two ()')
  assert.deepEqual((await migrate(url, [first])).applied, ['0001-test.sql'])
  assert.deepEqual((await migrate(url, [first])).applied, [])
  assert.deepEqual(await migrate(url, [first, second]), { applied: ['0002-test.sql'], current: '0002-test.sql' })
})

test('a migration that fails leaves nothing behind, keeps those before it, and can be mended', limits, async () => {
  const url = await freshDatabase()
  const good = migration(1, 'create table one ()')
  const bad = migration(2, 'create table two (); insert into missing values (1)')
  await assert.rejects(migrate(url, [good, bad, migration(3, 'create table three ()')]), (error: Error) => {
    assert.match(error.message, /^migration 0002-test\.sql failed: relation "missing" does not exist$/)
    assert.equal((error.cause as { code: string }).code, '42P01')
    return true
  })
  assert.deepEqual(await appliedVersions(url), [1])
  assert.equal(await hasTable(url, 'two'), false)
  assert.equal(await hasTable(url, 'three'), false)
  await migrate(url, [good, migration(2, 'create table two ()')])
  assert.deepEqual(await appliedVersions(url), [1, 2])
})

test('a migration whose entry cannot be written has no effect either', limits, async () => {
  const url = await freshDatabase()
  const twice = [migration(1, 'create table one ()'), migration(1, 'create table two ()')]
  await assert.rejects(migrate(url, twice), /duplicate key/)
  assert.equal(await hasTable(url, 'one'), true)
  assert.equal(await hasTable(url, 'two'), false)
})

/** Whether a replica is at work. */
const isHeld = async (url: string): Promise<boolean> =>
  (await query(url, `select 1 from pg_locks where locktype = 'advisory' and granted`)).length === 1

/** The server process of a replica that waits for another to be done. */
const waiting = async (url: string): Promise<number | undefined> => {
  const sql = `select pid from pg_locks where locktype = 'advisory' and not granted`
  return (await query<{ pid: number }>(url, sql))[0]?.pid
}

test('a replica waits while another migrates, and fails alone when its connection is killed', limits, async () => {
  const url = await freshDatabase()
  const known = [migration(1, 'select pg_sleep(0.7)'), migration(2, 'create table two ()')]
  const first = migrate(url, known)
  await until('the first is at work', () => isHeld(url))
  const killed = assert.rejects(migrate(url, known), /terminating connection/)
  const pid = await until('the second waits', () => waiting(url))
  await query(url, `select pg_terminate_backend(${pid})`)
  await killed
  assert.deepEqual((await first).applied, ['0001-test.sql', '0002-test.sql'])
})

test('a replica whose connection is reset fails with that, and its process goes on', limits, async (t) => {
  const url = new URL(await freshDatabase())
  const passed: Socket[] = []
  const server = createServer((near) => {
    const far = connect(Number(url.port), url.hostname).on('error', () => {})
    near.pipe(far).pipe(near)
    passed.push(near)
  })
  t.after(() => server.close())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const through = new URL(url)
  through.port = String((server.address() as AddressInfo).port)

  const reset = assert.rejects(migrate(through.href, [migration(1, 'select pg_sleep(10)')]), /ECONNRESET/)
  await until('it is at work', () => isHeld(url.href))
  for (const socket of passed) socket.resetAndDestroy()
  await reset
})

test('a database that cannot be reached is an error, not a wait', limits, async () => {
  await assert.rejects(migrate('postgres://127.0.0.1:1/none'), /ECONNREFUSED/)
})
