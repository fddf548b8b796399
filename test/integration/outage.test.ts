import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import pino from 'pino'
import { parseConfig } from '../../src/service/config.ts'
import { migrate } from '../../src/service/db/migrate.ts'
import { closeNow, startAdmin, startService } from '../../src/service/server.ts'
import { localEnv } from '../support/env.ts'
import { type Link, openLink } from '../support/link.ts'
import { freshDatabase } from '../support/postgres.ts'
import { testBuild } from '../support/service.ts'
import { until } from '../support/until.ts'

const direct = new URL(await freshDatabase())
await migrate(direct.href)
const limits = { timeout: 20_000 }

/** A way to the database, which is gone with the test. */
const linkFor = async (t: TestContext): Promise<Link> => {
  const link = await openLink(direct.href)
  t.after(() => link[Symbol.asyncDispose]())
  return link
}

type Answer = {
  readonly status: number
  readonly body: Record<string, unknown>
  readonly headers: Headers
  readonly tookMs: number
}

const ask = async (url: string, init?: RequestInit): Promise<Answer> => {
  const start = performance.now()
  const response = await fetch(url, init)
  const body = (await response.json()) as Record<string, unknown>
  return { status: response.status, body, headers: response.headers, tookMs: performance.now() - start }
}

const statementTimeoutMs = 500

/** A service behind a link of its own, ready or not, and what it logs. */
const start = async (t: TestContext, link: Link) => {
  const env = {
    ...localEnv,
    DATABASE_URL: link.url,
    DATABASE_POOL: '2',
    DATABASE_ACQUIRE_TIMEOUT_MS: '500',
    DATABASE_STATEMENT_TIMEOUT_MS: String(statementTimeoutMs),
  }
  const logged: string[] = []
  const log = pino({ level: 'info' }, { write: (line: string) => void logged.push(line) })
  const config = parseConfig(env, testBuild)
  const clock = { now: () => performance.now(), setTimeout, clearTimeout }
  const service = await startService({ config, worker: 1, log, clock, random: Math.random })
  t.after(service.drain)
  const admin = await startAdmin(config, service.health, log)
  t.after(() => closeNow(admin))
  const at = (port: number) => (path: string, init?: RequestInit) => ask(`http://127.0.0.1:${port}${path}`, init)
  return {
    get: at(service.address.port),
    probe: at((admin.address() as AddressInfo).port),
    logged,
    drain: service.drain,
  }
}

type Get = (path: string, init?: RequestInit) => Promise<Answer>

const newItem = (key: string): RequestInit => ({
  method: 'POST',
  headers: { 'Content-Type': 'application/json', 'Idempotency-Key': key },
  body: '{"name":"anchor"}',
})

/** One route for each way to the database: a shared connection, a borrowed one, a transaction. */
const ways: readonly { readonly path: string; readonly init?: RequestInit }[] = [
  { path: '/db' },
  { path: '/queries?queries=3' },
  { path: '/work/query?ms=1' },
  { path: '/items', init: newItem('one') },
]

const assertUnavailable = ({ status, body, headers }: Answer): void => {
  assert.equal(status, 503)
  assert.equal(body['code'], 'database-unavailable')
  assert.equal(headers.get('Content-Type'), 'application/problem+json')
  assert.equal(headers.get('Retry-After'), '1')
}

/** Time from now to the first success of a request. */
const firstSuccessMs = async (get: Get, path: string, init?: RequestInit): Promise<number> => {
  const start = performance.now()
  await until(`${path} succeeds`, async () => (await get(path, init)).status < 300)
  return performance.now() - start
}

const assertBack = async (get: Get): Promise<void> => {
  const backMs = await Promise.all(ways.map(({ path, init }) => firstSuccessMs(get, path, init)))
  assert.ok(Math.max(...backMs) < 1_000, `back after ${backMs.map(Math.round).join(', ')} ms`)
}

test(
  'started without its database a service is alive, not ready and says why, and becomes ready by itself',
  limits,
  async (t) => {
    const link = await linkFor(t)
    await link.refuse()
    const { get, probe } = await start(t, link)
    const reason = await until('the reason', async () => {
      const { body } = await probe('/readyz')
      return /unreachable/.test(JSON.stringify(body)) && body
    })
    assert.match(
      (reason['checks'] as { database: string }).database,
      /^unreachable: connect ECONNREFUSED 127\.0\.0\.1:\d+$/,
    )
    for (const [path, status] of [
      ['/livez', 200],
      ['/readyz', 503],
      ['/startupz', 503],
    ] as const) {
      assert.equal((await probe(path)).status, status, path)
    }
    assertUnavailable(await get('/db'))
    assert.equal((await get('/json')).status, 200)

    await link.accept()
    const readyMs = await firstSuccessMs(probe, '/readyz')
    assert.ok(readyMs < 1_000, `${readyMs} ms`)
    assert.equal((await get('/db')).status, 200)
    assert.equal((await probe('/startupz')).status, 200)
  },
)

test(
  'a database that refuses is answered for at once with 503, and used again within 1 s of its return',
  limits,
  async (t) => {
    const link = await linkFor(t)
    const { get, probe, logged } = await start(t, link)
    await assertBack(get)

    await link.refuse()
    for (let round = 0; round < 3; round++) {
      for (const { path, init } of ways) {
        const answer = await get(path, init)
        assertUnavailable(answer)
        assert.ok(answer.tookMs < 100, `${path} took ${answer.tookMs} ms`)
      }
    }
    assert.equal((await get('/json')).status, 200)
    // The outage of one dependency must not take every replica out of the load balancer.
    assert.equal((await probe('/readyz')).status, 200)
    await wait(1_000)
    const said = logged.filter((line) => line.includes('"database unreachable"'))
    assert.ok(said.length >= 1 && said.length <= 3, `said ${said.length} times in a second`)

    await link.accept()
    await assertBack(get)
  },
)

test('what is in flight when connections are reset fails with 503, and nothing else does', limits, async (t) => {
  const link = await linkFor(t)
  const { get } = await start(t, link)
  await assertBack(get)
  link.freeze()
  const inFlight = [get('/db'), get('/fortunes'), get('/work/query?ms=1'), get('/items', newItem('two'))]
  await wait(50)
  await link.refuse()
  for (const answer of await Promise.all(inFlight)) assertUnavailable(answer)
  link.thaw()
  await link.accept()
  await assertBack(get)
})

test('a database that falls silent is answered for within the statement timeout and 1 s', limits, async (t) => {
  const link = await linkFor(t)
  const { get } = await start(t, link)
  await assertBack(get)

  link.freeze()
  for (const answer of await Promise.all(ways.map(({ path, init }) => get(path, init)))) {
    assertUnavailable(answer)
    assert.ok(answer.tookMs > statementTimeoutMs, `took ${answer.tookMs} ms`)
    assert.ok(answer.tookMs < statementTimeoutMs + 1_000, `took ${answer.tookMs} ms`)
  }
  const known = await get('/db')
  assertUnavailable(known)
  assert.ok(known.tookMs < 100, `took ${known.tookMs} ms once it is known`)
  const borrowed = await get('/work/query?ms=1')
  assert.equal(borrowed.status, 503)
  assert.ok(borrowed.tookMs < statementTimeoutMs + 1_000, `took ${borrowed.tookMs} ms`)

  link.thaw()
  await assertBack(get)
})

test('a service that starts towards a silent database becomes ready when it speaks', limits, async (t) => {
  const link = await linkFor(t)
  link.freeze()
  const { probe } = await start(t, link)
  await wait(1_300)
  const { status, body } = await probe('/readyz')
  assert.equal(status, 503)
  assert.deepEqual(body['checks'], { server: 'serving', database: 'unreachable: timeout expired' })
  link.thaw()
  const readyMs = await firstSuccessMs(probe, '/readyz')
  assert.ok(readyMs < 1_000, `${readyMs} ms`)
})

test('a short silence costs no answer', limits, async (t) => {
  const link = await linkFor(t)
  const { get } = await start(t, link)
  await assertBack(get)
  link.freeze()
  const inFlight = [get('/db'), get('/work/query?ms=1')]
  await wait(300)
  link.thaw()
  assert.deepEqual(
    (await Promise.all(inFlight)).map(({ status }) => status),
    [200, 200],
  )
})

for (const asked of [[], ['/db', '/work/query?ms=1']]) {
  const law = 'a service drains in bounded time though its database has fallen silent'
  test(`${law}, with ${asked.length} requests in flight`, limits, async (t) => {
    const link = await linkFor(t)
    const { get, drain } = await start(t, link)
    await assertBack(get)
    link.freeze()
    const inFlight = asked.map((path) => get(path))
    await wait(50)
    const begun = performance.now()
    await drain()
    const drainedMs = performance.now() - begun
    assert.ok(drainedMs < 2 * (statementTimeoutMs + 1_000), `${drainedMs} ms`)
    for (const answer of await Promise.all(inFlight)) assertUnavailable(answer)
  })
}
