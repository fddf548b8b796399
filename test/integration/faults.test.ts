import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import pino from 'pino'
import { parseConfig } from '../../src/service/config.ts'
import { faultsOfProcess } from '../../src/service/faults/control.ts'
import { drainRoute } from '../../src/service/routes/drain.ts'
import { faultRoutes } from '../../src/service/routes/faults.ts'
import { closeNow, startAdmin } from '../../src/service/server.ts'
import { dial, type RawAnswer, type RawRequest, request, requestBytes } from '../support/http.ts'
import { startTestService, testBuild } from '../support/service.ts'
import { until } from '../support/until.ts'

const token = 'a-token-of-a-test'
const authorized = { Authorization: `Bearer ${token}` }
const log = pino({ level: 'silent' })

type Bench = AsyncDisposable & {
  readonly port: number
  readonly adminPort: number
  readonly told: string[]
  admin(method: string, target: string, body?: unknown): Promise<RawAnswer>
  faults(plan: unknown): Promise<Report>
}

type Report = {
  readonly active: boolean
  readonly counts: Record<string, number>
}

/** A service and its admin port, in this process; crashes and drains are only told of. */
const start = async (env: Record<string, string> = { ADMIN_TOKEN: token }): Promise<Bench> => {
  const config = parseConfig({ ADMIN_HOST: '127.0.0.1', ADMIN_PORT: '0', ...env }, testBuild)
  const { port, service } = await startTestService(env)
  const told: string[] = []
  const faults = faultsOfProcess(service.faults, (how) => told.push(`crash by ${how}`))
  const guarded = { token: config.admin.token, log }
  const server = await startAdmin(config, service.health, log, [
    (api) => faultRoutes(api, { faults, ...guarded }),
    (api) => drainRoute(api, { drain: () => told.push('drain'), ...guarded }),
  ])
  const adminPort = (server.address() as AddressInfo).port
  const admin: Bench['admin'] = (method, target, body) => {
    const json = body === undefined ? {} : { 'Content-Type': 'application/json' }
    const text = body === undefined ? '' : JSON.stringify(body)
    return request(adminPort, target, { method, headers: { ...authorized, ...json }, body: text })
  }
  return {
    port,
    adminPort,
    told,
    admin,
    faults: async (plan) => reportOf(await admin('PUT', '/faults', plan)),
    [Symbol.asyncDispose]: async () => {
      await closeNow(server)
      await service.drain()
    },
  }
}

const reportOf = (answer: RawAnswer): Report => {
  assert.equal(answer.status, 200, answer.body.toString())
  return JSON.parse(answer.body.toString()) as Report
}

const codeOf = (answer: RawAnswer): unknown => (JSON.parse(answer.body.toString()) as { code: unknown }).code

const calls: readonly (readonly [method: string, target: string])[] = [
  ['GET', '/faults'],
  ['PUT', '/faults'],
  ['DELETE', '/faults'],
  ['POST', '/faults/crash'],
  ['POST', '/drain'],
]

test('without the right token nothing is told and nothing happens', async () => {
  await using bench = await start()
  const tokens = [undefined, `Bearer ${token}x`, `Bearer ${token.slice(1)}`, 'Bearer ', `Basic ${token}`, token]
  for (const [method, target] of calls) {
    for (const given of tokens) {
      const headers: RawRequest['headers'] = given === undefined ? {} : { Authorization: given }
      const answer = await request(bench.adminPort, target, { method, headers })
      assert.equal(answer.status, 401, `${method} ${target} with ${given}`)
      assert.match(answer.header('WWW-Authenticate') ?? '', /^Bearer\b/)
      assert.equal(codeOf(answer), 'unauthorized')
    }
  }
  assert.deepEqual(bench.told, [])
})

test('where no token is configured every call is told to set ADMIN_TOKEN', async () => {
  await using bench = await start({})
  for (const [method, target] of calls) {
    const answer = await bench.admin(method, target)
    assert.equal(answer.status, 503, `${method} ${target}`)
    assert.equal(codeOf(answer), 'faults-not-configured')
    assert.match(answer.body.toString(), /ADMIN_TOKEN/)
  }
  assert.deepEqual(bench.told, [])
})

test('faults are on the admin port only', async () => {
  await using bench = await start()
  assert.equal((await request(bench.port, '/faults', { headers: authorized })).status, 404)
})

test('every mistake of a plan is named, and the faults stay as they were', async () => {
  await using bench = await start()
  await bench.faults({ errors: { share: 1 } })
  const answer = await bench.admin('PUT', '/faults', { errors: { share: 2 }, latency: { distribution: 'gauss' }, x: 1 })
  assert.equal(answer.status, 400)
  const { errors } = JSON.parse(answer.body.toString()) as { errors: { field: string }[] }
  assert.deepEqual(
    errors.map(({ field }) => field).toSorted((a, b) => a.localeCompare(b)),
    ['errors.share', 'latency.distribution', 'x'],
  )
  assert.equal((await request(bench.port, '/json')).status, 503)
})

test('an error share of 1 fails every request of the service, and none of the admin port', async () => {
  await using bench = await start()
  await bench.faults({ errors: { share: 1 } })
  for (const target of ['/json', '/work/wait?ms=1', '/nothing']) {
    const answer = await request(bench.port, target)
    assert.deepEqual([answer.status, codeOf(answer)], [503, 'injected-fault'], target)
  }
  for (const target of ['/livez', '/readyz', '/startupz']) {
    assert.equal((await request(bench.adminPort, target)).status, 200, target)
  }
  assert.equal(reportOf(await bench.admin('GET', '/faults')).counts['failedRequests'], 3)
})

test('DELETE ends all faults and tells what they did', async () => {
  await using bench = await start()
  await bench.faults({ errors: { share: 1 }, ready: false, leak: { mbPerSecond: 100, upToMb: 10 } })
  await request(bench.port, '/json')
  const { active, counts } = reportOf(await bench.admin('DELETE', '/faults'))
  assert.deepEqual([active, counts['failedRequests'], counts['leakedMb']], [false, 1, 0])
  assert.equal((await request(bench.port, '/json')).status, 200)
  assert.equal((await request(bench.adminPort, '/readyz')).status, 200)
})

test('added latency is time that the client waits', async () => {
  await using bench = await start()
  await bench.faults({ latency: { distribution: 'constant', meanMs: 120 } })
  const startMs = performance.now()
  assert.equal((await request(bench.port, '/json')).status, 200)
  assert.ok(performance.now() - startMs >= 119)
})

test("added latency ends at the request's deadline", async () => {
  await using bench = await start()
  await bench.faults({ latency: { distribution: 'constant', meanMs: 20_000 } })
  const answer = await request(bench.port, '/json', { headers: { 'Request-Timeout-Ms': '100' } })
  assert.deepEqual([answer.status, codeOf(answer)], [504, 'deadline-exceeded'])
})

test('added latency occupies a slot of admission, as a slow dependency does', async () => {
  await using bench = await start({ ADMIN_TOKEN: token, MAX_IN_FLIGHT: '1', QUEUE_LENGTH: '0' })
  await bench.faults({ latency: { distribution: 'constant', meanMs: 300 } })
  const answers = await Promise.all(Array.from({ length: 4 }, () => request(bench.port, '/json')))
  assert.deepEqual(
    answers.map(({ status }) => status).toSorted((a, b) => a - b),
    [200, 503, 503, 503],
  )
})

test('readiness off: /readyz says so while the service serves', async () => {
  await using bench = await start()
  await bench.faults({ ready: false })
  const readiness = await request(bench.adminPort, '/readyz')
  assert.equal(readiness.status, 503)
  assert.match(readiness.body.toString(), /"faults":"not ready, as asked"/)
  assert.equal((await request(bench.adminPort, '/startupz')).status, 200)
  assert.equal((await request(bench.port, '/json')).status, 200)
})

test('stalls hold up what is at work meanwhile', async () => {
  await using bench = await start()
  await bench.faults({ stalls: { everyMs: 200, forMs: 150 } })
  const startMs = performance.now()
  // Its end falls into the first stall, which is from 200 ms to 350 ms.
  await request(bench.port, '/work/wait?ms=250')
  assert.ok(performance.now() - startMs > 320, String(performance.now() - startMs))
  const { counts } = reportOf(await bench.admin('DELETE', '/faults'))
  assert.ok(counts['stalls']! > 0)
})

test('a crash comes after its answer, in the way that was asked for', async () => {
  await using bench = await start()
  const byDefault = await bench.admin('POST', '/faults/crash')
  assert.equal(byDefault.status, 202)
  assert.deepEqual(JSON.parse(byDefault.body.toString()), { crashing: { how: 'exception', worker: 1 } })
  assert.equal((await bench.admin('POST', '/faults/crash', { how: 'kill', worker: 1 })).status, 202)
  await until('both', () => bench.told.length === 2)
  assert.deepEqual(bench.told, ['crash by exception', 'crash by kill'])
})

test('a crash that cannot be is refused: no such worker, no such way', async () => {
  await using bench = await start()
  for (const body of [{ worker: 2 }, { worker: 0 }, { worker: 'one' }, { how: 'softly' }, { when: 'now' }]) {
    assert.equal((await bench.admin('POST', '/faults/crash', body)).status, 400, JSON.stringify(body))
  }
  assert.deepEqual(bench.told, [])
})

test('a crash whose asker has left comes all the same', async () => {
  await using bench = await start()
  const socket = await dial(bench.adminPort)
  const bytes = requestBytes('/faults/crash', { method: 'POST', headers: authorized })
  socket.end(bytes, () => socket.destroy())
  await until('the crash', () => bench.told.length === 1)
})

test('a drain begins after its answer', async () => {
  await using bench = await start()
  assert.equal((await bench.admin('POST', '/drain')).status, 202)
  await until('the drain', () => bench.told.includes('drain'))
})
