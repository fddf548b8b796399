import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { parseConfig } from '../../../src/service/config.ts'
import { createThreads, type Threads } from '../../../src/service/work/threads/pool.ts'
import { dial, listen, type RawAnswer, request, requestBytes } from '../../support/http.ts'
import { testApp } from '../../support/app.ts'
import { testBuild } from '../../support/service.ts'
import { until } from '../../support/until.ts'

/** A clock like that of the process, which knows its timers. */
class CountedClock {
  readonly #timers = new Set<NodeJS.Timeout>()

  /** Those that are set now. The one of the default deadlines, which keeps no process alive, is left out. */
  get pending(): ReadonlySet<NodeJS.Timeout> {
    return new Set([...this.#timers].filter((timer) => timer.hasRef()))
  }

  readonly now = (): number => performance.now()

  readonly setTimeout = (callback: () => void, ms: number): unknown => {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      callback()
    }, ms)
    this.#timers.add(timer)
    return timer
  }

  readonly clearTimeout = (timer: NodeJS.Timeout): void => {
    this.#timers.delete(timer)
    clearTimeout(timer)
  }
}

type Working = {
  readonly port: number
  readonly threads: Threads
  readonly clock: CountedClock
  readonly errors: unknown[]
}

const start = async (t: TestContext, env: Readonly<Record<string, string>> = {}): Promise<Working> => {
  const config = parseConfig({ THREADS: '2', THREAD_QUEUE: '1', ...env }, testBuild)
  const clock = new CountedClock()
  const threads = createThreads(config.threads)
  const app = testApp(config, { threads, clock })
  const errors: unknown[] = []
  app.on('error', (error: unknown) => errors.push(error))
  const at = await listen(app.callback())
  t.after(async () => {
    await at[Symbol.asyncDispose]()
    await threads.close({ timeoutMs: 0 })
  })
  return { port: at.port, threads, clock, errors }
}

const json = ({ status, body }: RawAnswer): unknown => {
  assert.equal(status, 200, body.toString())
  return JSON.parse(body.toString())
}

type Took = { readonly ms: number; readonly tookMs: number }

const time = async <Result>(work: () => Promise<Result>): Promise<readonly [tookMs: number, Result]> => {
  const start = performance.now()
  const result = await work()
  return [performance.now() - start, result]
}

/** Sends a request and leaves before its answer, once the service is at work on it. */
const leave = async (port: number, target: string, atWork: () => boolean): Promise<void> => {
  const client = await dial(port)
  client.write(requestBytes(target))
  await until('at work', atWork)
  client.destroy()
}

test('a wait takes its time, and many at once take no more', async (t) => {
  const { port } = await start(t)
  const [tookMs, answers] = await time(() =>
    Promise.all(Array.from({ length: 20 }, () => request(port, '/work/wait?ms=100'))),
  )
  for (const answer of answers) {
    const took = json(answer) as Took
    assert.ok(took.ms === 100 && took.tookMs >= 99, JSON.stringify(took))
  }
  assert.ok(tookMs < 1_000, `${tookMs} ms instead of 100, or 2,000 one after the other`)
})

test('a gathering takes the longest of its parts, not their sum, and tells the time of each', async (t) => {
  const { port } = await start(t)
  const answer = await request(port, '/work/gather?ms=200,300,100,0,250')
  const { tookMs, parts } = json(answer) as { tookMs: number; parts: Took[] }
  assert.deepEqual(
    parts.map(({ ms }) => ms),
    [200, 300, 100, 0, 250],
  )
  for (const part of parts) assert.ok(part.tookMs >= part.ms - 1, JSON.stringify(part))
  assert.ok(tookMs >= 299 && tookMs < 600, `${tookMs} ms; the sum is 850`)
})

test('CPU time is used in a thread, and the event loop stays free', async (t) => {
  const { port, threads } = await start(t)
  await threads.warm()
  const burning = request(port, '/work/cpu?ms=300')
  await until('busy', () => threads.stats().busy === 1)
  const quick = await request(port, '/json')
  assert.deepEqual([quick.status, threads.stats().busy], [200, 1])
  const burn = json(await burning) as Took & { cpuMs: number }
  assert.ok(burn.ms === 300 && burn.cpuMs >= 299 && burn.tookMs >= burn.cpuMs * 0.9, JSON.stringify(burn))
})

test('blocking uses the time on the event loop, and everyone else waits for it', async (t) => {
  const { port, threads } = await start(t)
  const client = await dial(port)
  t.after(() => client.destroy())
  client.write(requestBytes('/work/block?ms=200'))
  const [tookMs, quick] = await time(() => request(port, '/json'))
  assert.equal(quick.status, 200)
  assert.ok(tookMs >= 150, `answered after ${tookMs} ms`)
  assert.equal(threads.stats().completed, 0)
})

test('a blocking call in a thread takes its time, and two threads do two at once', async (t) => {
  const { port, threads } = await start(t)
  await threads.warm()
  const [tookMs, answers] = await time(() => Promise.all([1, 2].map(() => request(port, '/work/thread?ms=400'))))
  for (const answer of answers) assert.ok((json(answer) as Took).tookMs >= 399)
  assert.ok(tookMs < 780, `${tookMs} ms; one after the other is 800`)
  assert.equal(threads.stats().completed, 2)
})

test('when threads and queue are full, a request is a 503 at once that says when to come back', async (t) => {
  const { port, threads } = await start(t)
  const accepted = Array.from({ length: 3 }, () => request(port, '/work/thread?ms=400'))
  await until('full', () => threads.stats().queued === 1)
  const [tookMs, refused] = await time(() => request(port, '/work/thread?ms=400'))
  assert.deepEqual([refused.status, refused.header('Retry-After')], [503, '1'])
  assert.equal((JSON.parse(refused.body.toString()) as { code: string }).code, 'threads-busy')
  assert.ok(tookMs < 300, `${tookMs} ms`)
  for (const answer of await Promise.all(accepted)) assert.equal(answer.status, 200)
})

test('memory is held for its time', async (t) => {
  const { port, clock } = await start(t)
  const before = process.memoryUsage().arrayBuffers
  const holding = request(port, '/work/memory?mb=16&ms=300')
  await until('holding', () => clock.pending.size === 1)
  const held = process.memoryUsage().arrayBuffers - before
  assert.ok(held >= 15 * 2 ** 20, `${held} bytes held`)
  const answer = json(await holding) as Took & { mb: number }
  assert.ok(answer.mb === 16 && answer.tookMs >= 299, JSON.stringify(answer))
  assert.ok(process.memoryUsage().arrayBuffers - before < 8 * 2 ** 20)
})

test('a mix takes its parts one after the other, and tells the time of each', async (t) => {
  const { port, threads } = await start(t)
  await threads.warm()
  const answer = await request(port, '/work/mix?wait=100&cpu=50')
  const { tookMs } = json(answer) as { tookMs: Record<string, number> }
  assert.ok(tookMs['wait']! >= 99 && tookMs['cpu']! >= 49 && tookMs['queries']! < 50, JSON.stringify(tookMs))
  assert.ok(Math.abs(tookMs['all']! - tookMs['wait']! - tookMs['cpu']! - tookMs['queries']!) < 0.01)
  assert.deepEqual((json(await request(port, '/work/mix')) as { wait: number }).wait, 0)
})

for (const target of [
  '/work/wait?ms=60000',
  '/work/gather?ms=60000,50000',
  '/work/mix?wait=60000',
  '/work/memory?mb=1&ms=60000',
]) {
  test(`a client that leaves ${target} leaves no timer behind`, async (t) => {
    const { port, clock, errors } = await start(t)
    await leave(port, target, () => clock.pending.size > 0)
    await until('no timer', () => clock.pending.size === 0)
    assert.equal((await request(port, '/json')).status, 200)
    assert.deepEqual(errors, [])
  })
}

for (const target of ['/work/cpu?ms=60000', '/work/thread?ms=60000', '/work/mix?cpu=60000']) {
  test(`a client that leaves ${target} frees its thread`, async (t) => {
    const { port, threads, errors } = await start(t, { THREADS: '1', THREAD_QUEUE: '0' })
    await leave(port, target, () => threads.stats().busy === 1)
    await until('free', () => threads.stats().busy === 0)
    assert.equal((await request(port, '/work/thread?ms=1')).status, 200)
    assert.equal(threads.stats().completed, 1)
    assert.deepEqual(errors, [])
  })
}

test('a client that leaves while it waits for a thread leaves the queue', async (t) => {
  const { port, threads } = await start(t, { THREADS: '1', THREAD_QUEUE: '1' })
  const running = request(port, '/work/thread?ms=500')
  await until('running', () => threads.stats().busy === 1)
  await leave(port, '/work/cpu?ms=60000', () => threads.stats().queued === 1)
  await until('out of the queue', () => threads.stats().queued === 0)
  assert.equal((await running).status, 200)
})

const limits = { MAX_WORK_MS: '1000', MAX_MEMORY_MB: '8' }

test('every parameter has bounds, and what is outside is a 400 that starts no work', async (t) => {
  const { port, threads, clock } = await start(t, limits)
  const wrong = [
    '',
    '1e9',
    '1001',
    '-1',
    'NaN',
    '%205',
    '%2B5',
    '0x10',
    '5.0',
    '1&ms=2',
    '99999999999999999999',
    'Infinity',
  ]
  for (const path of ['wait', 'gather', 'cpu', 'block', 'thread', 'query']) {
    for (const value of wrong) {
      const answer = await request(port, `/work/${path}?ms=${value}`)
      assert.equal(answer.status, 400, `${path}?ms=${value}`)
      assert.match(answer.body.toString(), /"code":"invalid-request".*"field":"ms"/)
    }
    assert.equal((await request(port, `/work/${path}`)).status, 400)
  }
  for (const query of ['mb=9&ms=1', 'mb=1&ms=1001', 'ms=1', 'mb=-1', 'mb=1&mb=1']) {
    assert.equal((await request(port, `/work/memory?${query}`)).status, 400, query)
  }
  for (const query of ['wait=1001', 'cpu=1001', 'queries=501', 'queries=-1', 'ms=1', 'wait=1&wait=1']) {
    assert.equal((await request(port, `/work/mix?${query}`)).status, 400, query)
  }
  assert.equal((await request(port, `/work/gather?ms=${Array.from({ length: 101 }, () => 0).join(',')}`)).status, 400)
  assert.deepEqual([clock.pending.size, threads.stats().busy, threads.stats().completed], [0, 0, 0])
})

test('all mistakes of a request are told at once', async (t) => {
  const { port } = await start(t, limits)
  const answer = await request(port, '/work/memory?mb=x&ms=1001&more=1')
  const { errors } = JSON.parse(answer.body.toString()) as { errors: { field: string; accepted: string }[] }
  assert.deepEqual(Object.fromEntries(errors.map(({ field, accepted }) => [field, accepted])), {
    mb: 'one whole number from 0 to 8',
    ms: 'one whole number from 0 to 1000',
    more: 'only mb, ms',
  })
})
