import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, cp, mkdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import pg from 'pg'
import { commandLineOf } from '../../src/lab/fleet/processes.ts'
import { nativeFolder } from '../../src/lab/fleet/postgres-binaries.ts'
import { startEmbeddedPostgres, type EmbeddedPostgresOptions } from '../../src/lab/fleet/postgres.ts'
import { freshDatabase, makeTestFolder, testServer } from '../support/postgres.ts'
import { until } from '../support/until.ts'

const isRoot = process.getuid?.() === 0
const folder = await makeTestFolder()
let port = 23_000 + ((process.pid * 8) % 4_000)

const start = async (t: TestContext, options: Partial<EmbeddedPostgresOptions> & { dataDir: string }) => {
  const notes: string[] = []
  port += 1
  const server = await startEmbeddedPostgres({ port, note: (text) => notes.push(text), ...options })
  t.after(() => server.stop())
  return { ...server, notes }
}

const query = async (url: string, sql: string): Promise<Record<string, unknown>[]> => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}

const hasEnded = async (pid: number): Promise<boolean> => (await commandLineOf(pid)) === ''

test('a server has a database in UTF-8, sorted by code point, that takes 200 connections', async (t) => {
  const { url } = await start(t, { dataDir: join(folder, 'first') })
  const [row] = await query(
    url,
    `SELECT current_database() AS database, current_user AS user, current_setting('server_encoding') AS encoding,
       current_setting('max_connections')::int AS connections, 'Z' < 'a' AS by_code_point, upper('é') AS upper`,
  )
  assert.deepEqual(row, {
    database: 'plimsoll',
    user: 'plimsoll',
    encoding: 'UTF8',
    connections: 200,
    by_code_point: true,
    upper: 'É',
  })
})

test('data and password stay from one start to the next', async (t) => {
  const dataDir = join(folder, 'kept')
  const first = await start(t, { dataDir })
  await query(first.url, 'CREATE TABLE kept AS SELECT 42 AS answer')
  await first.stop()
  const second = await start(t, { dataDir })
  assert.equal(new URL(second.url).password, new URL(first.url).password)
  assert.deepEqual(await query(second.url, 'SELECT answer FROM kept'), [{ answer: 42 }])
})

test('a stopped server leaves no process, no lock and no pid file behind', async (t) => {
  const dataDir = join(folder, 'stopped')
  const server = await start(t, { dataDir })
  await server.stop()
  assert.ok(await hasEnded(server.pid))
  for (const file of ['lock', 'cluster/postmaster.pid'])
    await assert.rejects(stat(join(dataDir, file)), { code: 'ENOENT' })
})

test('nobody gets in without the password, and nobody but its owner can read that', async (t) => {
  const dataDir = join(folder, 'secret')
  const { url } = await start(t, { dataDir })
  const wrong = new URL(url)
  wrong.password = 'wrong'
  await assert.rejects(query(wrong.href, 'SELECT 1'), { code: '28P01' })
  assert.equal((await stat(join(dataDir, 'password'))).mode & 0o077, 0)
})

test('a port in use is stepped over, with a note', async (t) => {
  const taken = (port += 2)
  const squatter = createServer().listen(taken, '127.0.0.1')
  await once(squatter, 'listening')
  t.after(() => squatter.close())
  const server = await start(t, { dataDir: join(folder, 'stepped'), port: taken })
  assert.equal(server.port, taken + 1)
  assert.deepEqual(server.notes, [`port ${taken} is in use: PostgreSQL is on ${taken + 1}`])
  port += 1
})

test('a second server on the same data is refused, and the first goes on', async (t) => {
  const dataDir = join(folder, 'twice')
  const { url } = await start(t, { dataDir })
  await assert.rejects(start(t, { dataDir }), {
    code: 'in_use',
    message: new RegExp(`process ${process.pid} is using`),
  })
  assert.equal((await query(url, 'SELECT 1 AS one')).length, 1)
})

/** A process that starts a server and then waits; `kill` ends it as a crash would. */
const startElsewhere = async (t: TestContext, dataDir: string): Promise<{ pid: number; kill: () => Promise<void> }> => {
  const module = new URL('../../src/lab/fleet/postgres.ts', import.meta.url)
  const script = `
    import { startEmbeddedPostgres } from ${JSON.stringify(module)}
    const { pid } = await startEmbeddedPostgres({ dataDir: ${JSON.stringify(dataDir)}, port: ${(port += 1)} })
    console.log(pid)
    setInterval(() => {}, 1e6)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL')
    await ended
  }
  t.after(kill)
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  return { pid: Number(line.toString()), kill }
}

test('a server ends when whoever started it is killed', async (t) => {
  const { pid, kill } = await startElsewhere(t, join(folder, 'leashed'))
  assert.equal(await hasEnded(pid), false)
  await kill()
  await until('PostgreSQL has ended', () => hasEnded(pid), 15_000)
})

test('a server that was left behind all the same is stopped, and its data are served again', async (t) => {
  const dataDir = join(folder, 'left')
  const { pid, kill } = await startElsewhere(t, dataDir)
  await releaseLeash(pid)
  await kill()
  const { notes, url } = await start(t, { dataDir })
  assert.deepEqual(notes, [`stopping PostgreSQL ${pid}, left behind by an earlier run (SIGINT)`])
  assert.ok(await hasEnded(pid))
  assert.equal((await query(url, 'SELECT 1 AS one')).length, 1)
})

/** Kills the child of a server that would stop it when it is alone. */
const releaseLeash = async (serverPid: number): Promise<void> => {
  const ps = spawn('ps', ['-o', 'pid=,args=', '--ppid', String(serverPid)])
  const lines: Buffer[] = []
  ps.stdout.on('data', (chunk: Buffer) => lines.push(chunk))
  await once(ps, 'close')
  const leash = /^ *(\d+) \/bin\/sh /m.exec(Buffer.concat(lines).toString())?.[1]
  assert.ok(leash, 'the leash is a child of the server')
  process.kill(Number(leash), 'SIGKILL')
}

test('a server that crashed recovers at its next start', async (t) => {
  const dataDir = join(folder, 'crashed')
  const first = await start(t, { dataDir })
  await query(first.url, 'CREATE TABLE survives AS SELECT 1 AS one')
  process.kill(first.pid, 'SIGKILL')
  assert.deepEqual(await first.exited, { code: null, signal: 'SIGKILL' })
  await first.stop()
  const second = await start(t, { dataDir })
  assert.deepEqual(await query(second.url, 'SELECT one FROM survives'), [{ one: 1 }])
})

test('backends that outlive a killed server are waited for', async (t) => {
  const dataDir = join(folder, 'orphans')
  const first = await start(t, { dataDir })
  const client = new pg.Client({ connectionString: first.url })
  client.on('error', () => {})
  await client.connect()
  const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
  const backend = rows[0]!.pid
  process.kill(backend, 'SIGSTOP')
  process.kill(first.pid, 'SIGKILL')
  await first.exited
  await first.stop()
  setTimeout(() => process.kill(backend, 'SIGCONT'), 500)
  const second = await start(t, { dataDir })
  assert.equal(await hasEnded(backend), true)
  assert.equal((await query(second.url, 'SELECT 1 AS one')).length, 1)
})

test('a pid file whose process id now belongs to something else is no obstacle', async (t) => {
  const dataDir = join(folder, 'stale')
  await (await start(t, { dataDir })).stop()
  await writeFile(join(dataDir, 'cluster/postmaster.pid'), `${process.ppid}\n${dataDir}/cluster\n1\n1\n\n\n\nready\n`)
  const { url } = await start(t, { dataDir })
  assert.equal((await query(url, 'SELECT 1 AS one')).length, 1)
})

test('an initialisation that was cut short is made again', async (t) => {
  const dataDir = join(folder, 'cut')
  await mkdir(join(dataDir, 'cluster.unfinished/base'), { recursive: true })
  await writeFile(join(dataDir, 'cluster.unfinished/PG_VERSION'), '18\n')
  const { url } = await start(t, { dataDir })
  assert.equal((await query(url, 'SELECT 1 AS one')).length, 1)
})

test('a setting that PostgreSQL refuses fails the start with its own words', async (t) => {
  const refused = start(t, { dataDir: join(folder, 'refused'), settings: { max_connections: 'many' } })
  await assert.rejects(refused, { code: 'start_failed', message: /invalid value for parameter "max_connections"/ })
})

test('lost passwords are told from wrong ones, and nothing is overwritten', async (t) => {
  const dataDir = join(folder, 'lost')
  await (await start(t, { dataDir })).stop()
  await rm(join(dataDir, 'password'))
  await assert.rejects(start(t, { dataDir }), { code: 'start_failed', message: /password of the database is missing/ })
  assert.ok(await stat(join(dataDir, 'cluster/PG_VERSION')))
})

for (const [platform, arch] of [
  ['sunos', 'x64'],
  ['linux', 'mips'],
  ['win32', 'x64'],
] as const) {
  test(`without binaries for ${platform} ${arch}, it says to set DATABASE_URL`, async () => {
    await assert.rejects(nativeFolder(platform, arch), { code: 'no_binaries', message: /set DATABASE_URL/ })
  })
}

test('the binaries need nothing written next to them', async (t) => {
  const native = await nativeFolder()
  const before = await stat(join(native, 'lib'))
  await start(t, { dataDir: join(folder, 'untouched') })
  assert.equal((await stat(join(native, 'lib'))).mtimeMs, before.mtimeMs)
})

if (isRoot) {
  test('as root, the server runs as somebody else', async (t) => {
    const { pid } = await start(t, { dataDir: join(folder, 'root') })
    assert.notEqual((await stat(`/proc/${pid}`)).uid, 0)
  })

  test('as root, data that a user owns are served as that user', async (t) => {
    const dataDir = join(folder, 'owned')
    const first = await start(t, { dataDir })
    await first.stop()
    const { uid } = await stat(dataDir)
    const second = await start(t, { dataDir })
    assert.equal((await stat(`/proc/${second.pid}`)).uid, uid)
  })

  test('as root, a checkout that other users cannot enter is left as it is: data and binaries go to /var/tmp', async (t) => {
    const closed = join(folder, 'closed')
    await mkdir(closed, { mode: 0o700 })
    await cp(join(await nativeFolder(), '..'), join(closed, 'package'), { recursive: true })
    const options = { dataDir: join(closed, '.plimsoll/postgres'), native: join(closed, 'package/native') }
    const first = await start(t, options)
    t.after(() => rm(first.dataDir, { recursive: true, force: true }))
    assert.match(first.dataDir, /^\/var\/tmp\/plimsoll-[0-9a-f]{12}$/)
    assert.match(first.notes.join('\n'), /^the database is kept in \/var\/tmp\/plimsoll-/)
    assert.equal((await stat(closed)).mode & 0o777, 0o700)
    await query(first.url, 'CREATE TABLE kept AS SELECT 1 AS one')
    await first.stop()
    const second = await start(t, options)
    assert.equal(second.dataDir, first.dataDir)
    assert.deepEqual(await query(second.url, 'SELECT one FROM kept'), [{ one: 1 }])
  })

  test('as root, a place in /var/tmp that is not a folder of its own is refused', async (t) => {
    const closed = join(folder, 'closed-too')
    await mkdir(closed, { mode: 0o700 })
    const dataDir = join(closed, 'postgres')
    const first = await start(t, { dataDir })
    await first.stop()
    await rm(first.dataDir, { recursive: true })
    t.after(() => rm(first.dataDir, { force: true }))
    await symlink(closed, first.dataDir)
    await assert.rejects(start(t, { dataDir }), { code: 'in_use', message: /remove it, or choose another folder/ })
  })

  test('as root with a strict umask, what it makes can still be reached by the server', async (t) => {
    const before = process.umask(0o077)
    t.after(() => process.umask(before))
    const dataDir = join(folder, 'strict/.plimsoll/postgres')
    const { url } = await start(t, { dataDir })
    assert.equal((await query(url, 'SELECT 1 AS one')).length, 1)
  })
}

test('every fresh database is empty and its own', async () => {
  const [one, two] = await Promise.all([freshDatabase(), freshDatabase()])
  await query(one, 'CREATE TABLE mine ()')
  assert.notEqual(one, two)
  assert.deepEqual(await query(two, `SELECT FROM pg_tables WHERE schemaname = 'public'`), [])
})

test('tests have one server for each process, which outlasts the test that asked first', async () => {
  const server = await testServer()
  assert.equal(await testServer(), server)
  assert.ok(await stat(join(server.dataDir, 'cluster/PG_VERSION')))
})

test('a log of the last start is kept next to the data', async (t) => {
  const dataDir = join(folder, 'logged')
  await (await start(t, { dataDir })).stop()
  await chmod(dataDir, 0o700)
  assert.match(await readFile(join(dataDir, 'postgres.log'), 'utf8'), /database system is shut down\n$/)
})
