/** Past a request's deadline its client has 504 and nothing of it goes on; the same, without the 504, when it leaves. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { migrate } from '../../src/service/db/migrate.ts'
import { withClient } from '../support/client.ts'
import { dial, request, requestBytes, type RawRequest } from '../support/http.ts'
import { freshDatabase } from '../support/postgres.ts'
import { startTestService, type TestService } from '../support/service.ts'
import { until } from '../support/until.ts'

const limits = { timeout: 30_000 }
const deadlineMs = 150
/** How much later than its deadline an answer may be on a machine that has other things to do. */
const graceMs = 300

let url: string
let service: TestService
let item: string

before(async () => {
  url = await freshDatabase()
  await migrate(url)
  service = await startTestService({
    DATABASE_URL: url,
    DATABASE_PIPELINES: '1',
    DATABASE_POOL: '1',
    DATABASE_STATEMENT_TIMEOUT_MS: '60000',
    THREADS: '1',
    THREAD_QUEUE: '1',
    // Its queue has timers of its own.
    ADMISSION: 'off',
  })
  item = await createItem()
  // Whatever starts with its first use and stays has started.
  for (const target of ['/work/thread?ms=1', '/work/query?ms=1', '/db']) await ask(target)
})

after(() => service[Symbol.asyncDispose]())

const ask = (target: string, options?: RawRequest) => request(service.port, target, options)

const json = { 'Content-Type': 'application/json' }
const body = JSON.stringify({ name: 'an item' })

const createItem = async (): Promise<string> => {
  const answer = await ask('/items', { method: 'POST', headers: json, body })
  assert.equal(answer.status, 201)
  return (JSON.parse(answer.body.toString()) as { id: string }).id
}

/** How many statements the server is at for the service. */
const statementsAtWork = async (): Promise<number> => {
  const sql = `select count(*)::integer as n from pg_stat_activity
    where datname = current_database() and application_name like 'plimsoll%' and state <> 'idle'`
  const { rows } = await withClient(url, (client) => client.query<{ n: number }>(sql))
  return rows[0]!.n
}

const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length

/** CPU time that all threads of this process used over 100 ms, as a share of one core. */
const cpuShare = async (): Promise<number> => {
  const start = process.cpuUsage()
  await sleep(100)
  const { user, system } = process.cpuUsage(start)
  return (user + system) / 1000 / 100
}

/** Nothing is left: no statement, no timer, no busy thread. */
const assertQuiet = async (timersBefore: number): Promise<void> => {
  await until('no statement is left', async () => (await statementsAtWork()) === 0)
  await until('no timer is left', () => timers() <= timersBefore)
  await until('no thread burns', async () => (await cpuShare()) < 0.5)
  // With one thread, this would be queued behind what still runs in it.
  const start = performance.now()
  assert.equal((await ask('/work/thread?ms=0')).status, 200)
  assert.ok(performance.now() - start < 500)
}

type Case = {
  readonly title: string
  readonly target: () => string
  readonly options?: RawRequest
  /** What someone else holds meanwhile. */
  readonly lock?: string
  /** The database or a thread is at work; otherwise it only waits. */
  readonly busy?: 'statement' | 'thread'
}

const cases: readonly Case[] = [
  { title: 'a wait', target: () => '/work/wait?ms=20000' },
  { title: 'a gathering', target: () => '/work/gather?ms=1,20000,15000' },
  { title: 'held memory', target: () => '/work/memory?mb=1&ms=20000' },
  { title: 'CPU time in a thread', target: () => '/work/cpu?ms=20000', busy: 'thread' },
  { title: 'a blocked thread', target: () => '/work/thread?ms=20000', busy: 'thread' },
  { title: 'a long statement', target: () => '/work/query?ms=20000', busy: 'statement' },
  { title: 'a mix, at its wait', target: () => '/work/mix?queries=3&wait=20000' },
  { title: 'a mix, at its CPU time', target: () => '/work/mix?queries=3&cpu=20000', busy: 'thread' },
  {
    title: 'a mix, at its queries',
    target: () => '/work/mix?queries=20&wait=1',
    lock: 'lock table world',
    busy: 'statement',
  },
  { title: 'a row that is read', target: () => '/db', lock: 'lock table world', busy: 'statement' },
  { title: 'rows that are read', target: () => '/queries?queries=20', lock: 'lock table world', busy: 'statement' },
  {
    title: 'rows that are updated',
    target: () => '/updates?queries=20',
    lock: 'lock table world in exclusive mode',
    busy: 'statement',
  },
  {
    title: 'an item that is locked',
    target: () => `/items/${item}`,
    options: { method: 'PUT', headers: { ...json, 'If-Match': '*' }, body },
    lock: 'select from items for update',
    busy: 'statement',
  },
  {
    title: 'a transaction',
    target: () => '/items',
    options: { method: 'POST', headers: { ...json, 'Idempotency-Key': 'once' }, body },
    lock: 'lock table items',
    busy: 'statement',
  },
]

/** Holds a lock, if any, while `use` runs and until it has ended. */
const whileLocked = async (lock: string | undefined, use: () => Promise<void>): Promise<void> => {
  if (lock === undefined) return use()
  await withClient(url, async (holder) => {
    await holder.query('begin')
    await holder.query(lock)
    await use()
  })
}

for (const { title, target, options, lock, busy } of cases) {
  test(`${title}: past the deadline the client has 504, and nothing is left`, limits, () =>
    whileLocked(lock, async () => {
      const timersBefore = timers()
      const headers = { ...options?.headers, 'Request-Timeout-Ms': String(deadlineMs) }
      const start = performance.now()
      const answer = await ask(target(), { ...options, headers })
      const tookMs = performance.now() - start
      assert.equal(answer.status, 504)
      assert.equal((JSON.parse(answer.body.toString()) as { code: string }).code, 'deadline-exceeded')
      assert.ok(tookMs >= deadlineMs - 2 && tookMs < deadlineMs + graceMs, `${tookMs} ms`)
      await assertQuiet(timersBefore)
    }),
  )

  test(`${title}: when the client leaves, nothing is left`, limits, () =>
    whileLocked(lock, async () => {
      const timersBefore = timers()
      const socket = await dial(service.port)
      socket.write(requestBytes(target(), options))
      if (busy === 'statement') await until('a statement is at work', async () => (await statementsAtWork()) > 0)
      else await sleep(100)
      socket.destroy()
      await once(socket, 'close')
      await assertQuiet(timersBefore)
    }),
  )
}

test('a request behind one that waits for a lock is answered soon after the deadline of that one', limits, () =>
  whileLocked('lock table world', async () => {
    const headers = { 'Request-Timeout-Ms': '100' }
    const stuck = ask('/db', { headers })
    await until('it waits', async () => (await statementsAtWork()) === 1)
    const start = performance.now()
    const behind = await ask(`/items/${item}`)
    const waitedMs = performance.now() - start
    assert.equal(behind.status, 200)
    assert.equal((await stuck).status, 504)
    assert.ok(waitedMs < 100 + graceMs, `${waitedMs} ms`)
  }),
)

test(
  'the wait for a thread and for a connection counts: who is still queued at its deadline has 504',
  limits,
  async () => {
    for (const target of ['/work/thread?ms=600', '/work/query?ms=600']) {
      const first = ask(target)
      await sleep(100)
      const start = performance.now()
      const queued = await ask(target, { headers: { 'Request-Timeout-Ms': String(deadlineMs) } })
      const tookMs = performance.now() - start
      assert.equal(queued.status, 504, target)
      assert.ok(tookMs < deadlineMs + graceMs, `${tookMs} ms`)
      assert.equal((await first).status, 200, 'the one before it is not touched')
    }
  },
)

test('the deadline counts from the head of a request: a body that does not come is no excuse', limits, async () => {
  const socket = await dial(service.port)
  const start = performance.now()
  socket.write(
    'POST /items HTTP/1.1\r\nHost: test\r\nConnection: close\r\nRequest-Timeout-Ms: 100\r\n' +
      'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"name":',
  )
  const answer = await new Promise<string>((resolve) => socket.once('data', (bytes) => resolve(String(bytes))))
  socket.destroy()
  assert.match(answer, /^HTTP\/1\.1 504 /)
  const tookMs = performance.now() - start
  assert.ok(tookMs >= 99 && tookMs < 1_000, `${tookMs} ms`)
})

test('without a header the default holds', limits, async () => {
  await using short = await startTestService({ DEADLINE_MS: '100' })
  for (const headers of [{}, { 'Request-Timeout-Ms': '20000' }]) {
    const start = performance.now()
    assert.equal((await request(short.port, '/work/wait?ms=20000', { headers })).status, 504)
    assert.ok(performance.now() - start < 100 + graceMs)
  }
})

test('a deadline that cannot be read is refused before any work', limits, async () => {
  const answer = await ask('/work/wait?ms=20000', { headers: { 'Request-Timeout-Ms': '1.5' } })
  assert.equal(answer.status, 400)
})

test('ten thousand abandoned requests leave no more than one', limits, async () => {
  const timersBefore = timers()
  const leave = async (): Promise<void> => {
    const socket = await dial(service.port)
    for (let i = 0; i < 100; i++)
      socket.write('GET /db HTTP/1.1\r\nHost: x\r\n\r\nGET /work/wait?ms=20000 HTTP/1.1\r\nHost: x\r\n\r\n')
    await sleep(5)
    socket.destroy()
  }
  for (let round = 0; round < 10; round++) await Promise.all(Array.from({ length: 5 }, leave))
  await assertQuiet(timersBefore)
  assert.equal((await ask('/db')).status, 200)
})
