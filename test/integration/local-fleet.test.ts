import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Fleet } from '../../src/lab/fleet/fleet.ts'
import { startLocalFleet, type LocalFleetOptions } from '../../src/lab/fleet/local.ts'
import { isFree } from '../../src/lab/fleet/ports.ts'
import { startOf } from '../../src/lab/fleet/processes.ts'
import { until } from '../support/until.ts'

const standIn = fileURLToPath(new URL('../fixtures/stand-in.ts', import.meta.url))

/** Each test has its own range of ports, away from those of other test files. */
let nextPort = 16_000 + ((process.pid * 64) % 3_000)
const portRange = (): number => (nextPort += 16)

const start = async (t: TestContext, options: Partial<LocalFleetOptions> & { misbehave?: string } = {}) => {
  const notes: string[] = []
  const port = options.port ?? portRange()
  const { misbehave, ...rest } = options
  const fleet = await startLocalFleet({
    command: [process.execPath, standIn],
    env: { PATH: process.env['PATH'], STAND_IN: misbehave, ...options.env },
    replicas: 2,
    port,
    adminPort: port + 8,
    restartDelayMs: () => 10,
    note: (text) => notes.push(text),
    ...rest,
  })
  t.after(() => fleet.stop())
  return { fleet, notes, port }
}

type Answer = { instance: string | null; pid: number; drainDelayMs?: string; database?: string }

const ask = async (url: string): Promise<Answer> => {
  const response = await fetch(url, { headers: { connection: 'close' } })
  return {
    instance: response.headers.get('plimsoll-instance'),
    ...((await response.json()) as Omit<Answer, 'instance'>),
  }
}

const askAll = (fleet: Fleet): Promise<Answer[]> => Promise.all(fleet.replicas().map(({ url }) => ask(url)))

const isRunning = async (pid: number): Promise<boolean> => (await startOf(pid)) !== ''

test('replicas serve on ports of their own under names of their own', async (t) => {
  const { fleet, port } = await start(t)
  assert.deepEqual(fleet.replicas(), [
    { name: 'local-1', url: `http://127.0.0.1:${port}`, adminUrl: `http://127.0.0.1:${port + 8}`, state: 'ready' },
    { name: 'local-2', url: `http://127.0.0.1:${port + 1}`, adminUrl: `http://127.0.0.1:${port + 9}`, state: 'ready' },
  ])
  assert.deepEqual(
    (await askAll(fleet)).map(({ instance }) => instance),
    ['local-1', 'local-2'],
  )
})

test('replicas get the environment given, and do not delay their drain unless it says so', async (t) => {
  const { fleet } = await start(t, { replicas: 1, env: { DATABASE_URL: 'postgresql://x' } })
  const [answer] = await askAll(fleet)
  assert.deepEqual([answer?.drainDelayMs, answer?.database], ['0', 'postgresql://x'])
  const { fleet: other } = await start(t, { replicas: 1, env: { DRAIN_DELAY_MS: '50' } })
  assert.equal((await askAll(other))[0]?.drainDelayMs, '50')
})

test('ports in use are stepped over, each with a note, and replicas stay in order', async (t) => {
  const port = portRange()
  const squatters = [createServer().listen(port, '127.0.0.1'), createServer().listen(port + 8, '127.0.0.1')]
  await Promise.all(squatters.map((server) => once(server, 'listening')))
  t.after(() => squatters.forEach((server) => server.close()))
  const { fleet, notes } = await start(t, { port })
  assert.deepEqual(
    fleet.replicas().map(({ url, adminUrl }) => [new URL(url).port, new URL(adminUrl).port].map(Number)),
    [
      [port + 1, port + 9],
      [port + 2, port + 10],
    ],
  )
  assert.deepEqual(notes, [
    `port ${port} is in use: local-1 is on ${port + 1}`,
    `port ${port + 8} is in use: the admin port of local-1 is on ${port + 9}`,
  ])
})

test('stopping leaves no process and no port behind', async (t) => {
  const { fleet, port } = await start(t)
  const answers = await askAll(fleet)
  await fleet.stop()
  assert.deepEqual(fleet.replicas(), [])
  for (const { pid } of answers) assert.equal(await isRunning(pid), false)
  for (const used of [port, port + 1, port + 8, port + 9]) assert.ok(await isFree(used, '127.0.0.1'))
})

test('scaling up keeps the replicas there are, scaling down stops the newest', async (t) => {
  const { fleet } = await start(t, { replicas: 1 })
  const [first] = await askAll(fleet)
  await fleet.scaleTo(3)
  const three = await askAll(fleet)
  assert.deepEqual(
    three.map(({ instance }) => instance),
    ['local-1', 'local-2', 'local-3'],
  )
  assert.equal(three[0]?.pid, first?.pid)
  await fleet.scaleTo(2)
  assert.deepEqual(await askAll(fleet), three.slice(0, 2))
  assert.equal(await isRunning(three[2]!.pid), false)
})

test('scalings asked for at once are carried out one after the other', async (t) => {
  const { fleet } = await start(t, { replicas: 0 })
  const sizes: number[] = []
  await Promise.all([3, 1, 2].map((count) => fleet.scaleTo(count).then(() => sizes.push(fleet.replicas().length))))
  assert.deepEqual(sizes, [3, 1, 2])
  assert.equal(new Set((await askAll(fleet)).map(({ pid }) => pid)).size, 2)
})

test('a replica that ends by itself is said so, and started again on the same ports', async (t) => {
  const { fleet, notes } = await start(t)
  const [first] = fleet.replicas()
  const before = await ask(first!.url)
  await fetch(`${first!.url}/crash`).catch(() => undefined)
  await until('the replica is known to be down', () => fleet.replicas()[0]?.state !== 'ready')
  await until('the replica is ready again', () => fleet.replicas()[0]?.state === 'ready')
  const now = await ask(first!.url)
  assert.equal(now.instance, before.instance)
  assert.notEqual(now.pid, before.pid)
  assert.deepEqual(notes, ['local-1 exited with code 7; starting it again in 10 ms'])
})

test('the delay before a restart grows with the failures in a row', async (t) => {
  const asked: number[] = []
  const restartDelayMs = (nth: number): number => {
    asked.push(nth)
    return 5
  }
  const { fleet } = await start(t, { replicas: 1, restartDelayMs })
  for (let crashes = 1; crashes <= 3; crashes += 1) {
    await fetch(`${fleet.replicas()[0]!.url}/crash`).catch(() => undefined)
    await until('ready again', () => asked.length === crashes && fleet.replicas()[0]?.state === 'ready')
  }
  assert.deepEqual(asked, [1, 2, 3])
})

test('a fleet that is stopped while a replica waits to be started again stops at once', async (t) => {
  const { fleet } = await start(t, { replicas: 1, restartDelayMs: () => 60_000 })
  await fetch(`${fleet.replicas()[0]!.url}/crash`).catch(() => undefined)
  await until('the replica is known to be down', () => fleet.replicas()[0]?.state === 'down')
  await fleet.stop()
  assert.deepEqual(fleet.replicas(), [])
})

test('a replica that does not start fails the start with what it said last, and the others are stopped', async (t) => {
  const port = portRange()
  await assert.rejects(start(t, { port, misbehave: 'fail' }), ({ code, message }: Error & { code: string }) => {
    assert.equal(code, 'replica_failed')
    assert.match(message, /^local-1 exited with code 1\n[^]*Error: asked to fail/)
    return true
  })
  for (const used of [port, port + 1, port + 8, port + 9]) assert.ok(await isFree(used, '127.0.0.1'))
})

test('a program that is not there fails the start by name', async (t) => {
  await assert.rejects(start(t, { command: ['/not/there'] }), { code: 'replica_failed', message: /ENOENT/ })
})

test('a replica that is not ready in time is stopped and named', async (t) => {
  const port = portRange()
  const late = start(t, { port, replicas: 1, misbehave: 'hang', readyTimeoutMs: 700 })
  await assert.rejects(late, { code: 'replica_failed', message: /^local-1 was not ready after 0.7 s/ })
  assert.ok(await isFree(port, '127.0.0.1'))
})

test('a start can be given up', async (t) => {
  const port = portRange()
  const signal = AbortSignal.timeout(500)
  await assert.rejects(start(t, { port, misbehave: 'hang', signal }), { name: 'TimeoutError' })
  assert.ok(await isFree(port, '127.0.0.1'))
})

test('a replica that ignores SIGTERM is killed', async (t) => {
  const { fleet } = await start(t, { replicas: 1, misbehave: 'deaf', stopTimeoutMs: 100 })
  const [answer] = await askAll(fleet)
  await fleet.stop()
  assert.equal(await isRunning(answer!.pid), false)
})

test('replicas drain when whoever started them is killed', async (t) => {
  const port = portRange()
  const script = `
    import { startLocalFleet } from ${JSON.stringify(new URL('../../src/lab/fleet/local.ts', import.meta.url))}
    const command = [process.execPath, ${JSON.stringify(standIn)}]
    await startLocalFleet({ command, env: {}, replicas: 2, port: ${port}, adminPort: ${port + 8} })
    console.log('ready')
    setInterval(() => {}, 1e6)`
  const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => parent.kill('SIGKILL'))
  await once(parent.stdout, 'data')
  const answers = await Promise.all([ask(`http://127.0.0.1:${port}`), ask(`http://127.0.0.1:${port + 1}`)])
  parent.kill('SIGKILL')
  for (const { pid } of answers) await until(`replica ${pid} has ended`, async () => !(await isRunning(pid)))
})
