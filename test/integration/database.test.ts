import assert from 'node:assert/strict'
import { get } from 'node:http'
import { Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import pg from 'pg'
import { Failure } from '../../src/kit/errors.ts'
import { Database, type DatabaseOptions } from '../../src/service/db/database.ts'
import { sleep } from '../../src/service/db/queries/sleep.ts'
import { statement } from '../../src/service/db/statement.ts'
import { freshDatabase } from '../support/postgres.ts'
import { startTestService } from '../support/service.ts'
import { until } from '../support/until.ts'

const url = await freshDatabase()
const limits = { timeout: 20_000 }

type Told = { readonly event: string; readonly why: Error | undefined }

/** Opens a database with small bounds, once it is reachable; `told` gathers its events. */
const open = async (
  t: TestContext,
  options: Partial<DatabaseOptions> = {},
): Promise<{ database: Database; told: Told[] }> => {
  const told: Told[] = []
  const database = new Database({
    url,
    applicationName: `test ${t.name.slice(0, 40)}`,
    pipelines: 1,
    poolSize: 2,
    maxWaiting: 100,
    acquireTimeoutMs: 2_000,
    statementTimeoutMs: 5_000,
    onEvent: (event, why) => told.push({ event, why }),
    ...options,
  })
  t.after(() => database[Symbol.asyncDispose]())
  await database.open()
  await until('reachable', () => database.reachable)
  return { database, told }
}

/** Runs SQL on a connection of its own, beside what is tested. */
const beside = async <Row extends pg.QueryResultRow>(sql: string, values: unknown[] = []): Promise<Row[]> => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query<Row>(sql, values)).rows
  } finally {
    await client.end()
  }
}

const kill = (processId: number): Promise<unknown> => beside('select pg_terminate_backend($1)', [processId])

const text = ([value]: readonly string[]): string => value!
const echo = statement<string, [value: string]>('echo', 'select $1::text', text)
const processId = statement<number, []>('process-id', 'select pg_backend_pid()', ([pid]) => Number(pid))
const divide = statement<number, [by: number]>('divide', 'select 100 / $1::integer', ([value]) => Number(value))
const deallocate = statement<void, []>('deallocate', 'deallocate all', () => {})

const failsWith =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof Failure && error.code === code

const failsWithState =
  (state: string) =>
  (error: unknown): boolean =>
    (error as { code?: string }).code === state

const timeOf = async (work: () => Promise<unknown>): Promise<number> => {
  const start = performance.now()
  await work()
  return performance.now() - start
}

const never = new AbortController().signal
const gone = new Error('the client went away')

// The shared connection

test('a thousand concurrent statements get each its own answer', limits, async (t) => {
  const { database } = await open(t)
  const asked = Array.from({ length: 1_000 }, (_, i) => `answer ${i} ${'é'.repeat(i % 300)}`)
  assert.deepEqual(
    await Promise.all(asked.map((value) => database.run(echo, [value]))),
    asked.map((value) => [value]),
  )
  assert.equal(database.stats.pipelined, 0)
})

test('an error of SQL fails its own statement only, and the connection stays', limits, async (t) => {
  const { database } = await open(t)
  const [before] = await database.run(processId, [])
  const divisors = Array.from({ length: 100 }, (_, i) => i % 10)
  const outcomes = await Promise.allSettled(divisors.map((by) => database.run(divide, [by])))
  for (const [i, outcome] of outcomes.entries()) {
    const by = divisors[i]!
    if (outcome.status === 'fulfilled') assert.deepEqual(outcome.value, [Math.trunc(100 / by)])
    else assert.ok(by === 0 && failsWithState('22012')(outcome.reason))
  }
  assert.equal(outcomes.filter(({ status }) => status === 'rejected').length, 10)
  assert.deepEqual(await database.run(processId, []), [before])
})

test('a row that cannot be mapped fails its own statement only, with the error that was thrown', limits, async (t) => {
  const { database } = await open(t)
  const error = new TypeError('no such column')
  const unmappable = statement<never, []>('unmappable', 'select generate_series(1, 3)', () => {
    throw error
  })
  const outcomes = await Promise.allSettled([
    database.run(echo, ['a']),
    database.run(unmappable, []),
    database.run(echo, ['b']),
  ])
  assert.deepEqual(
    outcomes.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value : (outcome.reason as unknown))),
    [['a'], error, ['b']],
  )
})

test('rows keep their order and nulls, none is an empty list', limits, async (t) => {
  const { database } = await open(t)
  const series = statement<string | null, [to: number]>(
    'series',
    'select nullif(n, 2) from generate_series(1, $1::integer) n order by n desc',
    ([value]) => value ?? null,
  )
  assert.deepEqual(await database.run(series, [3]), ['3', null, '1'])
  assert.deepEqual(await database.run(series, [0]), [])
  assert.equal((await database.run(series, [5_000])).length, 5_000)
})

test('callers that use a statement first, in one turn, are both answered, with one Parse', limits, async (t) => {
  const { database } = await open(t)
  const write = t.mock.method(Socket.prototype, 'write')
  assert.deepEqual(await Promise.all([database.run(divide, [1]), database.run(divide, [2])]), [[100], [50]])
  assert.deepEqual(await database.run(divide, [5]), [20])
  const sent = write.mock.calls.map((call) => String(call.arguments[0])).join('')
  assert.equal(sent.split(divide.text).length - 1, 1)
})

test('a statement that cannot be prepared says so to all its callers, and works once it can be', limits, async (t) => {
  const { database } = await open(t)
  const later = statement<number, []>('later', 'select count(*) from made_later', ([n]) => Number(n))
  for (let i = 0; i < 2; i++) {
    const outcomes = await Promise.allSettled([1, 2, 3].map(() => database.run(later, [])))
    for (const outcome of outcomes) assert.ok(outcome.status === 'rejected' && failsWithState('42P01')(outcome.reason))
  }
  await beside('create table made_later ()')
  assert.deepEqual(await Promise.all([1, 2, 3].map(() => database.run(later, []))), [[0], [0], [0]])
})

test('prepared statements that the server has dropped are prepared again, and no request fails', limits, async (t) => {
  const { database } = await open(t, { poolSize: 1 })
  const both = async (value: string): Promise<void> => {
    assert.deepEqual(await database.run(echo, [value]), [value])
    assert.deepEqual(await database.runLong(echo, [value], never), [value])
    assert.deepEqual(await database.transaction((session) => session.run(echo, [value])), [value])
  }
  await both('before')
  for (let i = 0; i < 3; i++) {
    await database.run(deallocate, [])
    await database.runLong(deallocate, [], never)
    await both('after')
  }
  await database.run(deallocate, [])
  const asked = Array.from({ length: 200 }, (_, i) => `${i}`)
  const answers = await Promise.all(
    asked.map((value, i) => (i % 2 ? database.run(echo, [value]) : database.run(divide, [1]))),
  )
  assert.deepEqual(
    answers,
    asked.map((value, i) => (i % 2 ? [value] : [100])),
  )
})

test('a table that is altered under a prepared statement costs no request its answer', limits, async (t) => {
  const { database } = await open(t)
  await beside('create table shapes as select 1 as a')
  const shapes = statement<number, []>('shapes', 'select * from shapes', (fields) => fields.length)
  assert.deepEqual(await database.run(shapes, []), [1])
  await beside('alter table shapes add column b integer')
  assert.deepEqual(
    await Promise.all(Array.from({ length: 20 }, () => database.run(shapes, []))),
    Array.from({ length: 20 }, () => [2]),
  )
})

test('inside a transaction an altered table fails that transaction only', limits, async (t) => {
  const { database } = await open(t, { poolSize: 1 })
  await beside('create table forms as select 1 as a')
  const forms = statement<number, []>('forms', 'select * from forms', (fields) => fields.length)
  const read = (): Promise<number[]> => database.transaction((session) => session.run(forms, []))
  assert.deepEqual(await read(), [1])
  await beside('alter table forms add column b integer')
  await assert.rejects(read(), failsWithState('0A000'))
  assert.deepEqual(await read(), [2])
})

test('a statement over its time fails with deadline-exceeded, those behind it are answered', limits, async (t) => {
  const { database } = await open(t, { statementTimeoutMs: 200 })
  const [before] = await database.run(processId, [])
  const slow = assert.rejects(database.run(sleep, [10]), failsWith('deadline-exceeded'))
  const behind = database.run(echo, ['behind'])
  assert.ok((await timeOf(() => slow)) < 1_000)
  assert.deepEqual(await behind, ['behind'])
  await assert.rejects(database.runLong(sleep, [10], never), failsWith('deadline-exceeded'))
  assert.deepEqual(await database.run(processId, []), [before])
})

test(
  'when the shared connection is killed, what is in flight fails and the next success is within 1 s',
  limits,
  async (t) => {
    const { database, told } = await open(t)
    const [before] = await database.run(processId, [])
    const doomed = Promise.allSettled([database.run(sleep, [10]), database.run(echo, ['a']), database.run(echo, ['b'])])
    await kill(before!)
    for (const outcome of await doomed) {
      assert.ok(outcome.status === 'rejected' && failsWith('database-unavailable')(outcome.reason))
    }
    assert.equal(database.stats.pipelined, 0)
    const backMs = await timeOf(() => until('an answer', () => database.run(processId, []).catch(() => undefined)))
    assert.ok(backMs < 1_000, `${backMs} ms`)
    assert.notDeepEqual(await database.run(processId, []), [before])
    assert.deepEqual(
      told.map(({ event }) => event),
      ['reachable', 'unreachable', 'reachable'],
    )
  },
)

test('while one of several shared connections is away, the others serve and nobody is alarmed', limits, async (t) => {
  const { database, told } = await open(t, { pipelines: 3 })
  const pids = async (): Promise<Set<number>> =>
    new Set((await Promise.all(Array.from({ length: 30 }, () => database.run(processId, [])))).flat())
  await until('three connections', async () => (await pids()).size === 3)
  const [victim] = await pids()
  await kill(victim!)
  // A statement that was sent before the news came may fail with the connection.
  await wait(50)
  assert.ok(!(await pids()).has(victim!))
  await until('three connections again', async () => (await pids()).size === 3)
  assert.deepEqual(
    told.map(({ event }) => event),
    ['reachable'],
  )
})

// The pool

test('one waiter more than allowed is refused at once, also when all come in one turn', limits, async (t) => {
  for (const maxWaiting of [0, 3]) {
    const { database } = await open(t, { poolSize: 2, maxWaiting })
    const start = performance.now()
    const refusedMs: number[] = []
    const borrow = async (): Promise<void> => {
      try {
        await database.runLong(sleep, [0.1], never)
      } catch (error) {
        assert.ok(failsWith('database-busy')(error) && (error as Failure).retryAfterSeconds === 1)
        refusedMs.push(performance.now() - start)
      }
    }
    for (let round = 0; round < 2; round++) {
      refusedMs.length = 0
      const begun = performance.now() - start
      await Promise.all(Array.from({ length: 20 }, borrow))
      assert.equal(refusedMs.length, 20 - 2 - maxWaiting)
      assert.ok(Math.max(...refusedMs) - begun < 100, `${Math.max(...refusedMs) - begun} ms`)
    }
  }
})

test(
  'who waits for a connection too long is refused after that time, and the connection serves on',
  limits,
  async (t) => {
    const { database } = await open(t, { poolSize: 1, acquireTimeoutMs: 200 })
    const long = database.runLong(sleep, [0.5], never)
    const waitedMs = await timeOf(() =>
      assert.rejects(database.runLong(echo, ['x'], never), failsWith('database-busy')),
    )
    assert.ok(waitedMs > 190 && waitedMs < 400, `${waitedMs} ms`)
    await long
    assert.deepEqual(await database.runLong(echo, ['x'], never), ['x'])
  },
)

const pooledPid = async (database: Database): Promise<number> => (await database.runLong(processId, [], never))[0]!

test('an error of SQL keeps a borrowed connection, in a transaction and out of one', limits, async (t) => {
  const { database } = await open(t, { poolSize: 1 })
  const before = await pooledPid(database)
  await assert.rejects(database.runLong(divide, [0], never), failsWithState('22012'))
  await assert.rejects(
    database.transaction((session) => session.run(divide, [0])),
    failsWithState('22012'),
  )
  assert.equal(await pooledPid(database), before)
})

test('an error of the borrower keeps the connection: it is not the fault of the database', limits, async (t) => {
  const { database } = await open(t, { poolSize: 1 })
  const before = await pooledPid(database)
  const fault = new TypeError('a mistake in our code')
  await assert.rejects(
    database.transaction(() => Promise.reject(fault)),
    fault,
  )
  assert.equal(await pooledPid(database), before)
})

test('who goes away while waiting for a connection does not cost one', limits, async (t) => {
  const { database } = await open(t, { poolSize: 1 })
  const before = await pooledPid(database)
  const client = new AbortController()
  const running = database.runLong(sleep, [0.1], never)
  const waiting = assert.rejects(database.runLong(sleep, [10], client.signal), gone)
  client.abort(gone)
  await Promise.all([running, waiting])
  assert.equal(await pooledPid(database), before)
  await assert.rejects(async () => database.runLong(sleep, [10], client.signal), gone)
})

test('a killed backend does not return to the pool, lent or idle, and does not end the process', limits, async (t) => {
  const { database, told } = await open(t, { poolSize: 1 })
  const lent = await pooledPid(database)
  const borrowedAtOnce = database.runLong(sleep, [10], never).then(
    () => assert.fail(),
    (error: unknown) => {
      assert.ok(failsWith('database-unavailable')(error))
      return pooledPid(database)
    },
  )
  await until('it runs', async () => (await running()).includes(lent))
  await kill(lent)
  const idle = await borrowedAtOnce
  assert.notEqual(idle, lent)
  await kill(idle)
  await until('the pool knows', () => told.some(({ event }) => event === 'idle-error'))
  assert.notEqual(await pooledPid(database), idle)
})

/** The server processes that run `pg_sleep`. */
const running = async (): Promise<number[]> => {
  const sql = `select pid from pg_stat_activity where state = 'active' and query like '%pg_sleep%' and pid <> pg_backend_pid()`
  return (await beside<{ pid: number }>(sql)).map(({ pid }) => pid)
}

test('a transaction that returns has its effects, one that throws has none', limits, async (t) => {
  const { database } = await open(t, { poolSize: 1 })
  await beside('create table notes (note text)')
  const write = statement<void, [note: string]>('write', 'insert into notes values ($1)', () => {})
  await database.transaction((session) => session.run(write, ['kept']))
  const fault = new Error('after the write')
  const failing = database.transaction(async (session) => {
    await session.run(write, ['lost'])
    throw fault
  })
  await assert.rejects(failing, fault)
  assert.deepEqual(await beside('select note from notes'), [{ note: 'kept' }])
})

test(
  'a transaction whose connection is killed fails with database-unavailable and leaves nothing',
  limits,
  async (t) => {
    const { database } = await open(t, { poolSize: 1 })
    await beside('create table marks (mark text)')
    const write = statement<void, [mark: string]>('mark', 'insert into marks values ($1)', () => {})
    const doomed = database.transaction(async (session) => {
      await session.run(write, ['lost'])
      const [pid] = await session.run(processId, [])
      await kill(pid!)
      await session.run(write, ['too late'])
    })
    await assert.rejects(doomed, failsWith('database-unavailable'))
    assert.deepEqual(await beside('select * from marks'), [])
    await database.transaction((session) => session.run(write, ['kept']))
    assert.deepEqual(await beside('select * from marks'), [{ mark: 'kept' }])
  },
)

test(
  'a long statement whose client goes is cancelled on the server, and its connection serves the next',
  limits,
  async (t) => {
    const { database } = await open(t, { poolSize: 1 })
    const before = await pooledPid(database)
    const client = new AbortController()
    const cancelled = assert.rejects(database.runLong(sleep, [30], client.signal), failsWith('deadline-exceeded'))
    await until('it runs', async () => (await running()).includes(before))
    client.abort(gone)
    assert.ok((await timeOf(() => cancelled)) < 500)
    assert.ok(!(await running()).includes(before))
    assert.equal(await pooledPid(database), before)
  },
)

test('a cancellation never hits the next borrower, however close it comes to the end', limits, async (t) => {
  const { database } = await open(t, { poolSize: 1 })
  const before = await pooledPid(database)
  let cancelled = 0
  for (let i = 0; i < 300; i++) {
    const client = new AbortController()
    const abandoned = database.runLong(sleep, [0.001], client.signal).catch(() => cancelled++)
    // Spread over the whole life of the statement: before it is sent, while it runs, after it has ended.
    setTimeout(() => client.abort(gone), (i % 30) / 10)
    const next = database.runLong(sleep, [0.001], never)
    await abandoned
    await next
  }
  assert.ok(cancelled > 30 && cancelled < 300, `${cancelled} of 300 cancelled`)
  assert.equal(await pooledPid(database), before)
})

test('closing waits for what is running, on the shared and on borrowed connections', limits, async (t) => {
  const { database } = await open(t)
  const work = Promise.all([
    database.run(echo, ['shared']),
    database.run(sleep, [0.2]),
    database.transaction(async (session) => {
      await session.run(sleep, [0.2])
      return session.run(echo, ['borrowed'])
    }),
  ])
  await until('it runs', async () => (await running()).length === 2)
  await database[Symbol.asyncDispose]()
  assert.deepEqual(await work, [['shared'], [undefined], ['borrowed']])
  await assert.rejects(database.run(echo, ['x']), failsWith('database-unavailable'))
})

// The same over HTTP

test('a request over the bound of waiting ones is answered 503 with Retry-After, at once', limits, async () => {
  await using service = await startTestService({
    DATABASE_URL: url,
    DATABASE_POOL: '1',
    DATABASE_MAX_WAITING: '1',
    DATABASE_ACQUIRE_TIMEOUT_MS: '300',
  })
  const ask = (ms: number): Promise<Response> => fetch(`${service.url}/work/query?ms=${ms}`)
  const first = ask(600)
  await until('it runs', async () => (await running()).length === 1)
  const queued = ask(0)
  await wait(50)
  const start = performance.now()
  const refused = await ask(0)
  assert.ok(performance.now() - start < 100)
  assert.equal(refused.status, 503)
  assert.equal(refused.headers.get('Retry-After'), '1')
  assert.equal(refused.headers.get('Content-Type'), 'application/problem+json')
  assert.equal(((await refused.json()) as { code: string }).code, 'database-busy')
  const timedOut = await queued
  const waitedMs = performance.now() - start + 50
  assert.equal(timedOut.status, 503)
  assert.equal(((await timedOut.json()) as { code: string }).code, 'database-busy')
  assert.ok(waitedMs > 290 && waitedMs < 500, `${waitedMs} ms`)
  assert.equal((await first).status, 200)
})

test(
  'a slow query whose client hangs up is cancelled on the server, and the connection serves the next',
  limits,
  async () => {
    await using service = await startTestService({
      DATABASE_URL: url,
      DATABASE_POOL: '1',
      DATABASE_STATEMENT_TIMEOUT_MS: '60000',
    })
    const request = get(`${service.url}/work/query?ms=30000`)
    request.on('error', () => {})
    const [pid] = await until('it runs', async () => ((await running()).length === 1 ? running() : false))
    request.destroy()
    const cancelledMs = await timeOf(() => until('it is cancelled', async () => (await running()).length === 0))
    assert.ok(cancelledMs < 1_000, `${cancelledMs} ms`)
    const next = fetch(`${service.url}/work/query?ms=300`)
    assert.deepEqual(await until('the next runs', async () => ((await running()).length === 1 ? running() : false)), [
      pid,
    ])
    assert.equal((await next).status, 200)
  },
)
