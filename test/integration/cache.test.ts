import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { migrate } from '../../src/service/db/migrate.ts'
import { sqlOn } from '../support/client.ts'
import { openLink } from '../support/link.ts'
import { freshDatabase } from '../support/postgres.ts'
import { startTestService, type TestService } from '../support/service.ts'
import { startValkey, type TestValkey, withoutRedis } from '../support/valkey.ts'
import { until } from '../support/until.ts'

const databaseUrl = await freshDatabase()
await migrate(databaseUrl)
const limits = { timeout: 20_000 }
const withRedis = { ...limits, skip: withoutRedis }

type Item = { readonly id: string; readonly name: string; readonly version: number }

/** Starts a replica; returns when it hears the others, so that it keeps what it reads. */
const startReplica = async (t: TestContext, env: Readonly<Record<string, string>> = {}): Promise<TestService> => {
  const replica = await startTestService({ DATABASE_URL: databaseUrl, ...env })
  t.after(() => replica[Symbol.asyncDispose]())
  if (env['CACHE_MAX_ENTRIES'] !== '0') await keeps(replica)
  return replica
}

/** A row of its own, for nobody has asked for one of `items` yet. */
const keeps = async (replica: TestService): Promise<void> => {
  const { id } = await create(replica, 'probe')
  await until('it keeps what it reads', async () => isHit((await read(replica, id)).cacheStatus))
}

const create = async ({ url }: TestService, name: string): Promise<Item> => {
  const answer = await fetch(`${url}/items`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ name }),
  })
  assert.equal(answer.status, 201)
  return (await answer.json()) as Item
}

type Read = { readonly status: number; readonly name: string; readonly version: number; readonly cacheStatus: string }

const read = async ({ url }: TestService, id: string, headers: Record<string, string> = {}): Promise<Read> => {
  const answer = await fetch(`${url}/items/${id}`, { headers })
  const { name, version } = (await answer.json()) as Item
  return { status: answer.status, name, version, cacheStatus: answer.headers.get('Cache-Status') ?? 'none' }
}

const isHit = (cacheStatus: string): boolean => cacheStatus.startsWith('plimsoll; hit')

const change = async ({ url }: TestService, method: 'PUT' | 'DELETE', id: string, name = ''): Promise<void> => {
  const answer = await fetch(`${url}/items/${id}`, {
    method,
    headers: { 'Content-Type': 'application/json', 'If-Match': '*' },
    body: method === 'PUT' ? JSON.stringify({ name }) : null,
  })
  await answer.arrayBuffer()
  assert.ok(answer.ok, `${answer.status}`)
}

const put = (replica: TestService, id: string, name: string): Promise<void> => change(replica, 'PUT', id, name)

const sql = sqlOn(databaseUrl)

/** Counts how often a named statement is executed: its name stands in the Bind message, behind the portal's empty one. */
const openCountingLink = async (t: TestContext) => {
  const executed = new Map<string, number>()
  const link = await openLink(databaseUrl, (bytes) => {
    for (const [, name] of bytes.toString('latin1').matchAll(/B[^]{4}\0([a-z-]+)\0/g)) {
      executed.set(name!, (executed.get(name!) ?? 0) + 1)
    }
  })
  t.after(() => link[Symbol.asyncDispose]())
  return { url: link.url, count: (name: string): number => executed.get(name) ?? 0 }
}

test('a hundred concurrent reads of one item cause one statement', limits, async (t) => {
  const link = await openCountingLink(t)
  const replica = await startReplica(t, { DATABASE_URL: link.url })
  for (let round = 1; round <= 5; round++) {
    const { id } = await create(replica, 'popular')
    const before = link.count('read-item')
    const reads = await Promise.all(Array.from({ length: 100 }, () => read(replica, id)))
    assert.ok(reads.every(({ status, name }) => status === 200 && name === 'popular'))
    assert.equal(link.count('read-item') - before, 1)
    assert.equal(reads.filter(({ cacheStatus }) => cacheStatus === 'plimsoll; fwd=miss').length, 1)
  }
})

test('what is missing of /cached-queries is read with one statement', limits, async (t) => {
  const link = await openCountingLink(t)
  const replica = await startReplica(t, { DATABASE_URL: link.url })
  await (await fetch(`${replica.url}/cached-queries?count=500`)).json()
  assert.equal(link.count('read-cached-worlds'), 1)
})

test('an item that is not there is read from the database each time, and found when it is', limits, async (t) => {
  const replica = await startReplica(t)
  const id = '01900000-0000-7000-8000-00000000cafe'
  for (let i = 0; i < 3; i++) assert.equal((await read(replica, id)).status, 404)
  await sql('insert into items (id, name) values ($1, $2)', [id, 'late'])
  assert.equal((await read(replica, id)).name, 'late')
})

test('an id has one entry, however it is spelt', limits, async (t) => {
  const replica = await startReplica(t)
  const { id } = await create(replica, 'one')
  await read(replica, id)
  assert.ok(isHit((await read(replica, id.toUpperCase())).cacheStatus))
  await put(replica, id.toUpperCase(), 'two')
  assert.equal((await read(replica, id)).name, 'two')
})

test('a 304 comes from the cache as well', limits, async (t) => {
  const replica = await startReplica(t)
  const { id } = await create(replica, 'known')
  await read(replica, id)
  const answer = await fetch(`${replica.url}/items/${id}`, { headers: { 'If-None-Match': '"1"' } })
  assert.equal(answer.status, 304)
  assert.equal(answer.headers.get('ETag'), '"1"')
  assert.ok(isHit(answer.headers.get('Cache-Status')!))
})

test('with CACHE_MAX_ENTRIES=0 every read is a statement', limits, async (t) => {
  const link = await openCountingLink(t)
  const replica = await startReplica(t, { DATABASE_URL: link.url, CACHE_MAX_ENTRIES: '0' })
  const { id } = await create(replica, 'x')
  const before = link.count('read-item')
  const reads = await Promise.all(Array.from({ length: 10 }, () => read(replica, id)))
  assert.ok(reads.every(({ cacheStatus }) => cacheStatus === 'plimsoll; fwd=bypass'))
  assert.equal(link.count('read-item') - before, 10)
})

test('a change that nobody tells of is seen when TTL and stale time are over', limits, async (t) => {
  const replica = await startReplica(t, { CACHE_TTL_MS: '300', CACHE_STALE_MS: '300' })
  const { id } = await create(replica, 'before')
  await read(replica, id)
  await sql('update items set name = $2 where id = $1', [id, 'after'])
  assert.equal((await read(replica, id)).name, 'before')
  await sleep(400)
  const stale = await read(replica, id)
  assert.deepEqual([stale.name, stale.cacheStatus], ['before', 'plimsoll; hit; ttl=-1'])
  await until('it is renewed', async () => (await read(replica, id)).name === 'after', 500)
})

test(
  'a read past its deadline is answered 504 and leaves no statement behind; the next one is answered',
  limits,
  async (t) => {
    const replica = await startReplica(t)
    const { id } = await create(replica, 'locked')
    const client = new pg.Client({ connectionString: databaseUrl })
    await client.connect()
    await client.query('begin')
    await client.query('lock table items')
    const late = await fetch(`${replica.url}/items/${id}`, { headers: { 'Request-Timeout-Ms': '100' } })
    assert.equal(late.status, 504)
    const waiting = `select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`
    await until('nobody waits for the lock', async () => (await sql(waiting)).length === 0, 1_000)
    await client.end()
    assert.equal((await read(replica, id)).name, 'locked')
  },
)

/** How the replicas of a test are told of changes. */
const ways = [
  { way: 'NOTIFY', skip: false as const, open: async () => ({}) },
  {
    way: 'Valkey',
    skip: withoutRedis,
    open: async (t: TestContext) => {
      const valkey = await startValkey()
      t.after(() => valkey[Symbol.asyncDispose]())
      return { CACHE_URL: valkey.url }
    },
  },
]

for (const { way, skip, open } of ways) {
  test(`by ${way}: a change on one replica is seen on another within a second`, { ...limits, skip }, async (t) => {
    const env = await open(t)
    const [a, b] = await Promise.all([startReplica(t, env), startReplica(t, env)])
    const { id } = await create(a, 'version 1')
    const seenMs: number[] = []
    for (let version = 2; version <= 30; version++) {
      await read(b, id)
      assert.ok(isHit((await read(b, id)).cacheStatus))
      await put(a, id, `version ${version}`)
      const answeredAt = performance.now()
      while ((await read(b, id)).name !== `version ${version}`) assert.ok(performance.now() - answeredAt < 1_000)
      seenMs.push(performance.now() - answeredAt)
    }
    seenMs.sort((x, y) => x - y)
    t.diagnostic(`seen after ${seenMs[14]!.toFixed(1)} ms in the median, ${seenMs.at(-1)!.toFixed(1)} ms at most`)
    await read(b, id)
    await change(a, 'DELETE', id)
    await until('it is gone', async () => (await read(b, id)).status === 404, 1_000)
  })

  test(
    `by ${way}: a replica with CACHE_MAX_ENTRIES=0 tells the others of its changes`,
    { ...limits, skip },
    async (t) => {
      const env = await open(t)
      const [a, b] = await Promise.all([startReplica(t, env), startReplica(t, { ...env, CACHE_MAX_ENTRIES: '0' })])
      const { id } = await create(a, 'before')
      await read(a, id)
      assert.ok(isHit((await read(a, id)).cacheStatus))
      await put(b, id, 'after')
      await until('the change is seen', async () => (await read(a, id)).name === 'after')
      assert.equal((await read(b, id)).cacheStatus, 'plimsoll; fwd=bypass')
    },
  )

  test(`by ${way}: a read that follows a change on its replica is never stale`, { ...limits, skip }, async (t) => {
    const env = await open(t)
    const [a, b] = await Promise.all([startReplica(t, env), startReplica(t, env)])
    const { id } = await create(a, '0')
    const ended = new AbortController()
    const crowd = [a, b, a, b].map(async (replica) => {
      while (!ended.signal.aborted) await read(replica, id)
    })
    for (let i = 1; i <= 300; i++) {
      const writer = i % 3 === 0 ? b : a
      await put(writer, id, `${i}`)
      assert.equal((await read(writer, id)).name, `${i}`)
    }
    ended.abort()
    await Promise.all(crowd)
    await until(
      'both agree',
      async () => (await read(a, id)).name === '300' && (await read(b, id)).name === '300',
      1_000,
    )
  })
}

test('while NOTIFY is not heard nothing is kept, and no read is stale; then it is kept again', limits, async (t) => {
  const [a, b] = await Promise.all([startReplica(t, { INSTANCE: 'a' }), startReplica(t, { INSTANCE: 'b' })])
  const { id } = await create(a, '0')
  await read(b, id)
  assert.ok(isHit((await read(b, id)).cacheStatus))
  const { length } = await sql(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'plimsoll b cache'`,
  )
  assert.equal(length, 1)
  await until('bypassed', async () => (await read(b, id)).cacheStatus === 'plimsoll; fwd=bypass', 1_000)
  for (let i = 1; i <= 5; i++) {
    await put(a, id, `${i}`)
    assert.equal((await read(b, id)).name, `${i}`)
  }
  await until('kept again', async () => isHit((await read(b, id)).cacheStatus), 2_000)
  await put(a, id, 'last')
  await until('heard again', async () => (await read(b, id)).name === 'last', 1_000)
})

/** Two replicas that share a Valkey. */
const sharing = async (
  t: TestContext,
): Promise<{ valkey: TestValkey; a: TestService; b: TestService; urlOfA: string }> => {
  const valkey = await startValkey()
  t.after(() => valkey[Symbol.asyncDispose]())
  const link = await openCountingLink(t)
  const a = await startReplica(t, { CACHE_URL: valkey.url, DATABASE_URL: link.url })
  const b = await startReplica(t, { CACHE_URL: valkey.url })
  return { valkey, a, b, urlOfA: link.url }
}

test('what one replica has read another finds in Valkey', withRedis, async (t) => {
  const valkey = await startValkey()
  t.after(() => valkey[Symbol.asyncDispose]())
  const link = await openCountingLink(t)
  const a = await startReplica(t, { CACHE_URL: valkey.url })
  const b = await startReplica(t, { CACHE_URL: valkey.url, DATABASE_URL: link.url })
  const { id } = await create(a, 'shared')
  await read(a, id)
  // The fill is on its way when the answer is.
  await sleep(50)
  const before = link.count('read-item')
  assert.equal((await read(b, id)).name, 'shared')
  assert.equal(link.count('read-item'), before)
})

test(
  'a Valkey that is killed costs no read and no change its answer, and is used again when it is back',
  withRedis,
  async (t) => {
    const { valkey, a, b } = await sharing(t)
    const { id } = await create(a, '0')
    const ended = new AbortController()
    let served = 0
    const crowd = [a, b].map(async (replica) => {
      while (!ended.signal.aborted) {
        assert.equal((await read(replica, id)).status, 200)
        served++
      }
    })
    await sleep(100)
    await valkey.stop()
    for (let i = 1; i <= 20; i++) {
      await put(a, id, `${i}`)
      assert.equal((await read(a, id)).name, `${i}`)
    }
    await until('b has seen it', async () => (await read(b, id)).name === '20', 1_000)
    await valkey.start()
    await until('kept again', async () => isHit((await read(b, id)).cacheStatus))
    ended.abort()
    await Promise.all(crowd)
    assert.ok(served > 50, `${served}`)
    await put(a, id, 'last')
    await until('heard again', async () => (await read(b, id)).name === 'last', 1_000)
  },
)

test('a Valkey that hangs delays nobody for long, and what it missed it is told later', withRedis, async (t) => {
  const { valkey, a, b } = await sharing(t)
  const { id } = await create(a, 'old')
  await read(a, id)
  await sleep(50)
  valkey.hang()
  const start = performance.now()
  await put(a, id, 'new')
  const putMs = performance.now() - start
  assert.ok(putMs < 500, `${putMs} ms`)
  assert.equal((await read(a, id)).name, 'new')
  const readStart = performance.now()
  assert.equal((await read(b, id)).status, 200)
  assert.ok(performance.now() - readStart < 500)
  await until('b notices', async () => (await read(b, id)).name === 'new', 2_000)
  valkey.resume()
  await until('kept again', async () => isHit((await read(b, id)).cacheStatus))
  await until('it is told', async () => (await read(b, id)).name === 'new', 3_000)
  assert.equal((await read(a, id)).name, 'new')
})
