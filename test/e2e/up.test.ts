import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, readdir } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { isFree } from '../../src/lab/fleet/ports.ts'
import { describeExit, exitOf, startOf, type Exit } from '../../src/lab/fleet/processes.ts'
import { freshDatabase, makeTestFolder } from '../support/postgres.ts'
import { until } from '../support/until.ts'

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url))

let nextPort = 27_000 + ((process.pid * 32) % 4_000)
const portRange = (): number => (nextPort += 16)

type Running = {
  pid: number
  /** What has been written so far. */
  stdout: () => string
  stderr: () => string
  exited: Promise<Exit>
}

const run = (t: TestContext, cwd: string, args: readonly string[], env: Record<string, string> = {}): Running => {
  const child = spawn(process.execPath, [main, 'up', ...args], {
    cwd,
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  t.after(() => child.kill('SIGKILL'))
  const written = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => (written.stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (written.stderr += text))
  return { pid: child.pid!, stdout: () => written.stdout, stderr: () => written.stderr, exited: exitOf(child) }
}

const flagsFor = (port: number): string[] => ['--port', String(port), '--database-port', String(port + 8)]

/** Waits for the report of what runs, and gives the URLs of the replicas in it. */
const urlsOf = async ({ stdout, stderr, exited }: Running): Promise<string[]> => {
  const shown = until('what runs is shown', () => stdout().includes('Ctrl-C'), 15_000)
  await Promise.race([shown, exited.then((exit) => assert.fail(`it ended early, ${describeExit(exit)}:\n${stderr()}`))])
  return [...stdout().matchAll(/^ +local-\d+ +(\S+)/gm)].map(([, url]) => url!)
}

/** All processes below one, at this moment. */
const descendantsOf = async (pid: number): Promise<number[]> => {
  const { stdout } = await promisify(execFile)('ps', ['-eo', 'pid=,ppid='])
  const rows = stdout
    .trim()
    .split('\n')
    .map((row) => row.trim().split(/ +/).map(Number))
  const found = [pid]
  // The list grows while it is walked.
  for (const parent of found) for (const [child, of] of rows) if (of === parent) found.push(child!)
  return found.slice(1)
}

const stillRunning = async (pids: readonly number[]): Promise<number[]> => {
  const starts = await Promise.all(pids.map(startOf))
  return pids.filter((_, at) => starts[at] !== '')
}

const instanceAt = async (url: string): Promise<string | null> => {
  const response = await fetch(`${url}/json`)
  assert.equal(response.status, 200)
  await response.body?.cancel()
  return response.headers.get('plimsoll-instance')
}

const createItem = async (url: string, name: string): Promise<string> => {
  const body = JSON.stringify({ name })
  const response = await fetch(`${url}/items`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  })
  const text = await response.text()
  assert.equal(response.status, 201, text)
  return String((JSON.parse(text) as { id: unknown }).id)
}

/** What Ctrl-C in a terminal does: it interrupts the whole process group. */
const stop = async ({ pid, exited }: Running): Promise<Exit> => {
  process.kill(-pid, 'SIGINT')
  return await exited
}

test('two commands from nothing to a first answer, and Ctrl-C to nothing again; the data stay', async (t) => {
  const folder = await makeTestFolder()
  const port = portRange()
  const startedAt = performance.now()
  const first = run(t, folder, flagsFor(port))
  const urls = await urlsOf(first)
  const instances = await Promise.all(urls.map(instanceAt))
  assert.ok(performance.now() - startedAt < 15_000, 'the first answers came within 15 s')
  assert.deepEqual(instances, ['local-1', 'local-2'])
  const id = await createItem(urls[0]!, 'kept')

  const started = await descendantsOf(first.pid)
  assert.ok(started.length >= 3, 'two replicas and PostgreSQL')
  assert.deepEqual(await stop(first), { code: 0, signal: null })
  assert.deepEqual(await stillRunning(started), [])
  for (const used of [port, port + 1, port + 8]) assert.ok(await isFree(used, '127.0.0.1'), `port ${used} is free`)

  const second = run(t, folder, flagsFor(port))
  const [, url] = await urlsOf(second)
  const item = await fetch(`${url}/items/${id}`)
  assert.equal(((await item.json()) as { name: string }).name, 'kept')
  assert.equal((await stop(second)).code, 0)
})

test('ports in use are stepped over with a note, and the URLs shown are those that answer', async (t) => {
  const port = portRange()
  const squatters = [port, port + 8].map((taken) => createServer().listen(taken, '127.0.0.1'))
  await Promise.all(squatters.map((server) => once(server, 'listening')))
  t.after(() => squatters.forEach((server) => server.close()))
  const up = run(t, await makeTestFolder(), [...flagsFor(port), '--replicas', '1'])
  const urls = await urlsOf(up)
  assert.deepEqual(urls, [`http://127.0.0.1:${port + 1}`])
  assert.equal(await instanceAt(urls[0]!), 'local-1')
  assert.match(up.stderr(), new RegExp(`^port ${port} is in use: local-1 is on ${port + 1}$`, 'm'))
  assert.match(up.stderr(), new RegExp(`^port ${port + 8} is in use: PostgreSQL is on ${port + 9}$`, 'm'))
  assert.equal((await stop(up)).code, 0)
})

test('killed outright, it leaves no process behind either, and starts again', async (t) => {
  const folder = await makeTestFolder()
  const port = portRange()
  const killed = run(t, folder, flagsFor(port))
  await urlsOf(killed)
  const started = await descendantsOf(killed.pid)
  process.kill(killed.pid, 'SIGKILL')
  const again = run(t, folder, flagsFor(port))
  assert.equal(await instanceAt((await urlsOf(again))[0]!), 'local-1')
  await until('all have ended', async () => (await stillRunning(started)).length === 0, 15_000)
  assert.equal((await stop(again)).code, 0)
})

test('a second one in the same folder is refused with the process to stop, and the first goes on', async (t) => {
  const folder = await makeTestFolder()
  const port = portRange()
  const first = run(t, folder, flagsFor(port))
  const [url] = await urlsOf(first)
  const second = run(t, folder, flagsFor(port + 4))
  assert.deepEqual(await second.exited, { code: 1, signal: null })
  assert.match(second.stderr(), new RegExp(`process ${first.pid} is using the database in ${folder}`))
  assert.equal(await instanceAt(url!), 'local-1')
  assert.equal((await stop(first)).code, 0)
})

test('when its PostgreSQL dies, it says so, stops the replicas and ends with 1', async (t) => {
  const folder = await makeTestFolder()
  const up = run(t, folder, flagsFor(portRange()))
  await urlsOf(up)
  const started = await descendantsOf(up.pid)
  const pidFile = join(folder, '.plimsoll/postgres/cluster/postmaster.pid')
  process.kill(Number.parseInt(await readFile(pidFile, 'utf8'), 10), 'SIGKILL')
  assert.deepEqual(await up.exited, { code: 1, signal: null })
  assert.match(up.stderr(), /PostgreSQL was ended by SIGKILL: see .*postgres\.log/)
  await until('all have ended', async () => (await stillRunning(started)).length === 0, 15_000)
})

test('with DATABASE_URL, that database is used and none is started', async (t) => {
  const folder = await makeTestFolder()
  const port = portRange()
  const up = run(t, folder, [...flagsFor(port), '--replicas', '1'], { DATABASE_URL: await freshDatabase() })
  const [url] = await urlsOf(up)
  await createItem(url!, 'elsewhere')
  assert.equal((await stop(up)).code, 0)
  assert.deepEqual(await readdir(folder), [])
})

test('Ctrl-C in the middle of the start ends it normally', async (t) => {
  const up = run(t, await makeTestFolder(), flagsFor(portRange()))
  const started = await until('something is started', async () => {
    const pids = await descendantsOf(up.pid)
    return pids.length > 0 && pids
  })
  assert.deepEqual(await stop(up), { code: 0, signal: null })
  assert.equal(up.stdout(), '')
  assert.deepEqual(await stillRunning(started), [])
})

test('wrong flags are all named at once, and nothing is started', async (t) => {
  const folder = await makeTestFolder()
  const wrong = ['--replicas', '0', '--port', '1e9', '--host', 'nowhere', '--database-port', 'x', '--data', '']
  const up = run(t, folder, wrong)
  assert.deepEqual(await up.exited, { code: 2, signal: null })
  for (const flag of ['--replicas', '--port', '--host', '--database-port', '--data']) {
    assert.match(up.stderr(), new RegExp(`^${flag}: got .*; accepted: `, 'm'))
  }
  assert.equal(up.stdout(), '')
  assert.deepEqual(await readdir(folder), [])
})

test('a database that cannot be reached ends it with the reason, and nothing is left running', async (t) => {
  const port = portRange()
  const up = run(t, await makeTestFolder(), flagsFor(port), { DATABASE_URL: `postgresql://x@127.0.0.1:${port + 15}/x` })
  assert.deepEqual(await up.exited, { code: 1, signal: null })
  assert.match(up.stderr(), /plimsoll migrate exited with code 1/)
  assert.equal(up.stdout(), '')
})
