import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { get } from 'node:http'
import { Socket } from 'node:net'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import pg from 'pg'
import { Failure } from '../../src/kit/errors.ts'
import { Database, type DatabaseOptions } from '../../src/service/db/database.ts'
import { sleep } from '../../src/service/db/queries/sleep.ts'
import { statement } from '../../src/service/db/statement.ts'
import { sqlOn } from '../support/client.ts'
import { freshDatabase, makeTestFolder } from '../support/postgres.ts'
import { hasProgram, requirement } from '../support/requirement.ts'
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

const sql = sqlOn(url)

// Before the first test: once all tests known so far have ended, the server is stopped.
await sql('create table locks as select generate_series(1, 100) as id, 0 as held')

const kill = (processId: number): Promise<unknown> => sql('select pg_terminate_backend($1)', [processId])

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
  await sql('create table made_later ()')
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
  await sql('create table shapes as select 1 as a')
  const shapes = statement<number, []>('shapes', 'select * from shapes', (fields) => fields.length)
  assert.deepEqual(await database.run(shapes, []), [1])
  await sql('alter table shapes add column b integer')
  assert.deepEqual(
    await Promise.all(Array.from({ length: 20 }, () => database.run(shapes, []))),
    Array.from({ length: 20 }, () => [2]),
  )
})

test('inside a transaction an altered table fails that transaction only', limits, async (t) => {
  const { database } = await open(t, { poolSize: 1 })
  await sql('create table forms as select 1 as a')
  const forms = statement<number, []>('forms', 'select * from forms', (fields) => fields.length)
  const read = (): Promise<number[]> => database.transaction((session) => session.run(forms, []))
  assert.deepEqual(await read(), [1])
  await sql('alter table forms add column b integer')
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

// The shared connection, when a request no longer wants its statement

const touch = statement<void, [id: number]>(
  'touch',
  'update locks set held = held + 1 where id = $1::integer',
  () => {},
)

/** Holds the lock on a row of `locks` until it is called. */
const lock = async (t: TestContext, id: number): Promise<() => Promise<void>> => {
  const holder = new pg.Client({ connectionString: url })
  await holder.connect()
  t.after(() => holder.end())
  await holder.query('begin')
  await holder.query('select from locks where id = $1 for update', [id])
  return async () => void (await holder.query('rollback'))
}

/** Statements of this file's other connections that the server is at. */
const waiters = async (): Promise<string[]> => {
  const active = `select query from pg_stat_activity where state = 'active' and datname = current_database()
    and backend_type = 'client backend' and pid <> pg_backend_pid()`
  return (await sql<{ query: string }>(active)).map(({ query }) => query)
}

const isQuiet = async (): Promise<boolean> => (await waiters()).length === 0

test(
  'a statement that waits for a lock fails when its client goes, and those behind it are answered',
  limits,
  async (t) => {
    const { database } = await open(t)
    const [before] = await database.run(processId, [])
    await lock(t, 1)
    const client = new AbortController()
    const stuck = database.run(touch, [1], client.signal)
    const behind = database.run(echo, ['behind'])
    await until('it waits', async () => (await waiters()).length === 1)
    const start = performance.now()
    client.abort(gone)
    await assert.rejects(stuck, gone)
    const rejectedMs = performance.now() - start
    assert.deepEqual(await behind, ['behind'])
    const freedMs = performance.now() - start
    assert.ok(rejectedMs < 50 && freedMs < 500, `rejected after ${rejectedMs} ms, freed after ${freedMs} ms`)
    assert.ok(await isQuiet())
    assert.equal(database.stats.pipelined, 0)
    assert.deepEqual(await database.run(processId, []), [before])
  },
)

test('one further back fails at once too, and ends on the server when it is its turn', limits, async (t) => {
  const { database } = await open(t)
  await lock(t, 2)
  const client = new AbortController()
  const first = database.run(sleep, [0.3])
  const stuck = database.run(touch, [2], client.signal)
  const behind = database.run(echo, ['behind'])
  await until('the first runs', async () => (await running()).length === 1)
  client.abort(gone)
  assert.ok((await timeOf(() => assert.rejects(stuck, gone))) < 50)
  assert.deepEqual(await first, [undefined], 'the statement before it is not touched')
  assert.ok((await timeOf(() => behind)) < 500)
  assert.deepEqual(await behind, ['behind'])
})

test('a hundred that wait for the same lock free the line when their clients go', limits, async (t) => {
  const { database } = await open(t)
  await lock(t, 3)
  const client = new AbortController()
  const stuck = Promise.allSettled(Array.from({ length: 100 }, () => database.run(touch, [3], client.signal)))
  const behind = database.run(echo, ['behind'])
  await until('one waits', async () => (await waiters()).length === 1)
  client.abort(gone)
  assert.ok((await stuck).every((outcome) => outcome.status === 'rejected' && outcome.reason === gone))
  const freedMs = await timeOf(() => behind)
  assert.ok(freedMs < 4_000, `${freedMs} ms`)
})

/** Gives the server a certificate of its own making; it listens for both, TLS and not, from then on. */
const enableTls = async (): Promise<void> => {
  const folder = await makeTestFolder()
  const [key, certificate] = [join(folder, 'server.key'), join(folder, 'server.crt')]
  const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=localhost']
  execFileSync('openssl', [...request, '-keyout', key, '-out', certificate], { stdio: 'ignore' })
  // The server reads a key only from a file that is its own; so it writes it, in its data directory.
  for (const file of [key, certificate]) {
    const content = (await readFile(file)).toString('base64')
    await sql(`copy (select '${content}') to program 'umask 077; base64 -d > ${file.slice(folder.length + 1)}'`)
  }
  await sql('alter system set ssl = on')
  await sql('select pg_reload_conf()')
}

const withTls = { ...limits, skip: requirement('openssl', hasProgram('openssl')) }

test(
  'a cancel takes the way that its connection has taken: with TLS, asked for or from the start',
  withTls,
  async (t) => {
    await enableTls()
    const encrypted = statement<boolean, []>(
      'encrypted',
      'select ssl from pg_stat_ssl where pid = pg_backend_pid()',
      ([ssl]) => ssl === 't',
    )
    for (const negotiation of ['postgres', 'direct']) {
      const { database } = await open(t, { url: `${url}?sslmode=no-verify&sslnegotiation=${negotiation}` })
      assert.deepEqual(await database.run(encrypted, []), [true])
      const client = new AbortController()
      const abandoned = assert.rejects(database.run(sleep, [4], client.signal), gone)
      await until('it runs', async () => (await running()).length === 1)
      client.abort(gone)
      await abandoned
      assert.ok((await timeOf(() => database.run(echo, ['behind']))) < 1_000, negotiation)
    }
  },
)

test('a change says whether it was done: cancelled where it was not, its rows where it was', limits, async (t) => {
  const { database } = await open(t)
  const release = await lock(t, 4)
  const client = new AbortController()
  const change = database.change(touch, [4], client.signal)
  await until('it waits', async () => (await waiters()).length === 1)
  client.abort(gone)
  await assert.rejects(change, gone)
  assert.ok(await isQuiet())
  await release()
  assert.deepEqual(await sql('select held from locks where id = 4'), [{ held: 0 }])
  const late = new AbortController()
  const done = database.change(echo, ['done'], late.signal)
  // Nobody is behind it and it ends by itself, sooner than a cancel is asked for.
  late.abort(gone)
  assert.deepEqual(await done, ['done'])
})

test('a statement whose client has gone before is not sent', limits, async (t) => {
  const { database } = await open(t)
  await assert.rejects(database.run(touch, [4], AbortSignal.abort(gone)), gone)
  await database.run(echo, ['after'])
  assert.deepEqual(await sql('select held from locks where id = 4'), [{ held: 0 }])
})

test('whatever cancels are on their way, a statement that is wanted has its effect once', limits, async (t) => {
  const { database } = await open(t)
  const bump = statement<void, [id: number]>(
    'bump',
    'with slow as materialized (select pg_sleep(0.002)) update locks set held = held + 1 from slow where id = $1::integer',
    () => {},
  )
  const work: Promise<unknown>[] = []
  let abandoned = 0
  for (let i = 0; i < 300; i++) {
    const client = new AbortController()
    work.push(database.run(sleep, [0.003], client.signal).catch(() => abandoned++))
    work.push(database.run(bump, [10 + (i % 90)]))
    // Spread over the time in which it is the server's turn to do it, so that many a cancel comes late.
    setTimeout(() => client.abort(gone), i % 8)
    await wait(5)
  }
  await Promise.all(work)
  assert.ok(abandoned > 30, `${abandoned} of 300 abandoned`)
  assert.deepEqual(await sql('select sum(held)::integer as held from locks where id >= 10'), [{ held: 300 }])
  await until('quiet', isQuiet)
})

test('what a statement has listened to it listens to no longer', limits, async (t) => {
  const { database } = await open(t)
  const { signal } = new AbortController()
  const listening = new Set<unknown>()
  t.mock.method(signal, 'addEventListener', (_: string, listener: unknown) => listening.add(listener))
  t.mock.method(signal, 'removeEventListener', (_: string, listener: unknown) => listening.delete(listener))
  const work = [
    database.run(echo, ['a'], signal),
    database.run(divide, [0], signal),
    database.runLong(echo, ['a'], signal),
  ]
  assert.ok(listening.size >= 2)
  await Promise.allSettled(work)
  assert.equal(listening.size, 0)
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
  const active = `select pid from pg_stat_activity where state = 'active' and query like '%pg_sleep%' and pid <> pg_backend_pid()`
  return (await sql<{ pid: number }>(active)).map(({ pid }) => pid)
}

test('a transaction that returns has its effects, one that throws has none', limits, async (t) => {
  const { database } = await open(t, { poolSize: 1 })
  await sql('create table notes (note text)')
  const write = statement<void, [note: string]>('write', 'insert into notes values ($1)', () => {})
  await database.transaction((session) => session.run(write, ['kept']))
  const fault = new Error('after the write')
  const failing = database.transaction(async (session) => {
    await session.run(write, ['lost'])
    throw fault
  })
  await assert.rejects(failing, fault)
  assert.deepEqual(await sql('select note from notes'), [{ note: 'kept' }])
})

test(
  'a transaction whose connection is killed fails with database-unavailable and leaves nothing',
  limits,
  async (t) => {
    const { database } = await open(t, { poolSize: 1 })
    await sql('create table marks (mark text)')
    const write = statement<void, [mark: string]>('mark', 'insert into marks values ($1)', () => {})
    const doomed = database.transaction(async (session) => {
      await session.run(write, ['lost'])
      const [pid] = await session.run(processId, [])
      await kill(pid!)
      await session.run(write, ['too late'])
    })
    await assert.rejects(doomed, failsWith('database-unavailable'))
    assert.deepEqual(await sql('select * from marks'), [])
    await database.transaction((session) => session.run(write, ['kept']))
    assert.deepEqual(await sql('select * from marks'), [{ mark: 'kept' }])
  },
)

test(
  'a long statement whose client goes is cancelled on the server, and its connection serves the next',
  limits,
  async (t) => {
    const { database } = await open(t, { poolSize: 1 })
    const before = await pooledPid(database)
    const client = new AbortController()
    const cancelled = assert.rejects(database.runLong(sleep, [30], client.signal), gone)
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

test('a transaction whose client goes is rolled back, and its connection serves the next', limits, async (t) => {
  const { database } = await open(t, { poolSize: 1 })
  const before = await pooledPid(database)
  await lock(t, 6)
  const client = new AbortController()
  const stuck = database.transaction(async (session) => {
    await session.run(touch, [5])
    await session.run(touch, [6])
  }, client.signal)
  await until('it waits', async () => (await waiters()).some((query) => query.startsWith('update locks')))
  client.abort(gone)
  assert.ok((await timeOf(() => assert.rejects(stuck, gone))) < 500)
  assert.ok(await isQuiet())
  assert.equal(await pooledPid(database), before)
  assert.deepEqual(await sql('select held from locks where id = 5 for update nowait'), [{ held: 0 }])
})

test(
  'a borrowed connection is given back when its statement has ended, however often the server is asked',
  limits,
  async (t) => {
    const { database } = await open(t, { poolSize: 1 })
    const before = await pooledPid(database)
    // Does not hear of the first six cancels.
    const stubborn = statement<void, []>(
      'stubborn',
      `do $$ begin
       for i in 1..6 loop
         begin perform pg_sleep(4); exception when query_canceled then null; end;
       end loop;
     end $$`,
      () => {},
    )
    const client = new AbortController()
    const stuck = database.runLong(stubborn, [], client.signal)
    await until('it runs', async () => (await running()).includes(before))
    client.abort(gone)
    const tookMs = await timeOf(() => assert.rejects(stuck, gone))
    assert.ok(tookMs > 100 && tookMs < 2_000, `${tookMs} ms`)
    assert.equal(await pooledPid(database), before)
  },
)

test(
  'a transaction whose client goes between two statements runs no other, whatever its user makes of it',
  limits,
  async (t) => {
    const { database } = await open(t, { poolSize: 1 })
    const before = await pooledPid(database)
    const client = new AbortController()
    const outcome = database.transaction(async (session) => {
      await session.run(touch, [7])
      client.abort(gone)
      await session.run(touch, [8]).catch(() => {})
      return 'done'
    }, client.signal)
    await assert.rejects(outcome, gone)
    assert.equal(await pooledPid(database), before)
    assert.deepEqual(await sql('select sum(held)::integer as held from locks where id in (7, 8)'), [{ held: 0 }])
  },
)

test('a transaction cannot succeed after one of its statements has failed', limits, async (t) => {
  const { database } = await open(t, { poolSize: 1 })
  const before = await pooledPid(database)
  const swallowing = database.transaction(async (session) => {
    await session.run(touch, [9])
    await session.run(divide, [0]).catch(() => {})
    return 'done'
  })
  await assert.rejects(swallowing, /ROLLBACK/)
  assert.deepEqual(await sql('select held from locks where id = 9'), [{ held: 0 }])
  assert.equal(await pooledPid(database), before)
})

test('who goes away while waiting for a connection leaves the queue at once, to others', limits, async (t) => {
  const { database } = await open(t, { poolSize: 1, maxWaiting: 1 })
  const client = new AbortController()
  const first = database.runLong(sleep, [0.4], never)
  const leaving = database.runLong(echo, ['x'], client.signal)
  assert.equal(database.stats.waiting, 1)
  client.abort(gone)
  assert.ok((await timeOf(() => assert.rejects(leaving, gone))) < 50)
  assert.equal(database.stats.waiting, 0)
  assert.deepEqual(await database.runLong(echo, ['y'], never), ['y'])
  await first
})

test('a transaction can be cancelled though every shared connection waits for what it holds', limits, async (t) => {
  const { database } = await open(t, { poolSize: 1 })
  const client = new AbortController()
  const holding = database.transaction(async (session) => {
    await session.run(touch, [1])
    await session.run(sleep, [4])
  }, client.signal)
  await until('it holds the lock', async () => (await running()).length === 1)
  const blocked = database.run(touch, [1])
  await until('the other waits', async () => (await waiters()).length === 2)
  client.abort(gone)
  assert.ok((await timeOf(() => assert.rejects(holding, gone))) < 500)
  await blocked
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
