import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Failure, InputError } from '../../../src/kit/errors.ts'
import { seededRandom } from '../../../src/kit/random.ts'
import { reserve } from '../../../src/service/upstreams/retry-budget.ts'
import { targetOf } from '../../../src/service/upstreams/transport.ts'
import {
  type Aggregate,
  type Bounds,
  createUpstreams,
  type Upstreams,
  type UpstreamsOptions,
} from '../../../src/service/upstreams/upstreams.ts'
import { recordedTrace, told as toldOf } from '../../support/trace.ts'
import { VirtualClock } from '../work/virtual-clock.ts'
import { answer, broken, FakeTransport, type Play, type Seen } from './fake-transport.ts'

const deadlineHeader = 'request-timeout-ms'

const defaults: UpstreamsOptions = {
  urls: { a: 'http://a.test/a?x=1', b: 'http://b.test/b', c: 'http://c.test/c' },
  timeoutMs: 1_000,
  attempts: 2,
  retryBudget: 0.1,
  hedgeAfterMs: 0,
  connections: 1_000_000,
  breakerFailures: 1_000_000,
  breakerOpenMs: 5_000,
}

type World = { readonly clock: VirtualClock; readonly transport: FakeTransport; readonly upstreams: Upstreams }

const world = (play: (attempt: Seen, nth: number) => Play, options: Partial<UpstreamsOptions> = {}): World => {
  const clock = new VirtualClock()
  const transport = new FakeTransport(clock, play)
  const deps = { clock, random: seededRandom(1), deadlineHeader, ownOrigin: () => 'http://own.test:1' }
  const openTransport = (): Promise<FakeTransport> => Promise.resolve(transport)
  return { clock, transport, upstreams: createUpstreams({ ...defaults, ...options }, { ...deps, openTransport }) }
}

/** An AbortSignal that knows how much time is left. */
const bounds = (controller = new AbortController(), remainingMs = Infinity): Bounds =>
  Object.assign(controller.signal, { remainingMs })

type Told = Aggregate | Failure

/** Asks, lets time pass, and returns what came of it. */
const ask = async ({ clock, upstreams }: World, names: string[], within = bounds()): Promise<Told> => {
  const told = upstreams.aggregate(names, within).catch((error: unknown) => error as Failure)
  await clock.advance(5_000)
  assert.equal(clock.pending, 0, 'a timer is left')
  return told
}

const asked = async (world: World, names: string[], within?: Bounds): Promise<Aggregate> => {
  const told = await ask(world, names, within)
  assert.ok(!(told instanceof Failure), (told as Failure).message)
  return told
}

const refused = async (world: World, names: string[], within?: Bounds): Promise<Failure> => {
  const told = await ask(world, names, within)
  assert.ok(told instanceof Failure, JSON.stringify(told))
  return told
}

const ok = (afterMs: number, body = '{}'): Play => ({ afterMs, outcome: answer(200, body) })
const fails = (afterMs: number): Play => ({ afterMs, outcome: broken })

test('it takes as long as the slowest source, and tells them in the order asked for', async () => {
  const times: Record<string, number> = { '/a?x=1': 200, '/b': 300, '/c': 100 }
  const there = world(({ path }) => ok(times[path]!, `"${path}"`))
  const { complete, tookMs, sources } = await asked(there, ['c', 'a', 'b'])
  assert.deepEqual([complete, tookMs], [true, 300])
  assert.deepEqual(
    sources.map((source) => [source.name, source.tookMs, source.status === 'ok' && source.body]),
    [
      ['c', 100, '"/c"'],
      ['a', 200, '"/a?x=1"'],
      ['b', 300, '"/b"'],
    ],
  )
})

test('what fails or is late is told beside what came', async () => {
  const there = world(({ path }) => (path === '/b' ? undefined : path === '/c' ? fails(5) : ok(10)), { attempts: 1 })
  const { complete, tookMs, sources } = await asked(there, ['a', 'b', 'c'])
  assert.deepEqual([complete, tookMs], [false, 1_000])
  const [a, ...others] = sources
  assert.equal(a!.status, 'ok')
  assert.deepEqual(others, [
    { name: 'b', status: 'timeout', detail: 'no answer within 1000 ms', tookMs: 1_000, attempts: 1, hedged: false },
    { name: 'c', status: 'error', detail: 'no whole answer: ECONNRESET', tookMs: 5, attempts: 1, hedged: false },
  ])
  assert.deepEqual(there.transport.ends, ['landed', 'aborted', 'landed'])
})

test('none succeeded: 502, and it says which failed how', async () => {
  const there = world(({ path }) => (path === '/b' ? undefined : fails(5)), { attempts: 1 })
  const { code, detail } = await refused(there, ['a', 'b'])
  assert.equal(code, 'upstreams-failed')
  assert.equal(detail, 'a: error (no whole answer: ECONNRESET); b: timeout (no answer within 1000 ms)')
})

test('a retry comes after the back-off and its answer counts', async () => {
  const there = world((_, nth) => (nth === 1 ? fails(10) : ok(10)))
  const { sources, tookMs } = await asked(there, ['a'])
  assert.deepEqual([sources[0]!.status, sources[0]!.attempts, there.transport.seen.length], ['ok', 2, 2])
  assert.ok(tookMs >= 20 && tookMs <= 45, `${tookMs}: 10 + back-off of at most 25 + 10`)
})

test('attempts are at most as many as configured', async () => {
  for (const attempts of [1, 2, 3, 5]) {
    const there = world(() => fails(1), { attempts })
    await refused(there, ['a'])
    assert.equal(there.transport.seen.length, attempts)
  }
})

test('what will not be better a second time is not asked for twice', async () => {
  for (const status of [400, 404, 429, 500, 302]) {
    const there = world(() => ({ afterMs: 1, outcome: answer(status) }))
    await refused(there, ['a'])
    assert.equal(there.transport.seen.length, 1, String(status))
  }
})

test('a short Retry-After is waited for; one that does not fit ends the call at once', async () => {
  const busy = (seconds: string) => (_: Seen, nth: number) =>
    nth === 1 ? { afterMs: 10, outcome: answer(503, '', { 'retry-after': seconds }) } : ok(10)
  const patient = await asked(world(busy('1'), { timeoutMs: 2_000 }), ['a'])
  assert.equal(patient.tookMs, 1_020)
  const there = world(busy('2'), { timeoutMs: 2_000 })
  const { detail } = await refused(there, ['a'])
  assert.deepEqual([detail, there.transport.seen.length], ['a: error (answered 503)', 1])
})

test('an upstream that always fails is sent at most 1.1 times the requests, and the reserve', async () => {
  const requests = 1_000
  for (const hedgeAfterMs of [0, 5]) {
    const there = world(() => fails(10), { attempts: 10, hedgeAfterMs })
    for (let i = 0; i < requests; i += 1) {
      void there.upstreams.aggregate(['a'], bounds()).catch(() => {})
      if (i % 50 === 0) await there.clock.advance(20)
    }
    await there.clock.advance(5_000)
    const sent = there.transport.seen.length
    assert.ok(sent <= 1.1 * requests + reserve, `${sent} attempts`)
    assert.ok(sent >= 1.05 * requests, `${sent} attempts: the budget is there to be used`)
    const [stats] = there.upstreams.stats()
    assert.equal(stats!.attempts, sent)
    assert.equal(stats!.attempts, stats!.calls + stats!.retries + stats!.hedges)
  }
})

test('the budget of one upstream is not spent on another', async () => {
  const there = world(({ path }) => (path === '/b' ? fails(1) : fails(2)))
  for (let i = 0; i < 100; i += 1) await ask(there, ['a'])
  const before = there.transport.seen.length
  await ask(there, ['b'])
  assert.equal(there.transport.seen.length, before + 2)
})

test('a hedge is sent when an attempt is slow; the first good answer wins and the loser is aborted', async () => {
  const late = world((_, nth) => (nth === 1 ? undefined : ok(30)), { hedgeAfterMs: 100 })
  const [byHedge] = (await asked(late, ['a'])).sources
  assert.deepEqual([byHedge!.status, byHedge!.tookMs, byHedge!.attempts, byHedge!.hedged], ['ok', 130, 2, true])
  assert.deepEqual(late.transport.ends, ['aborted', 'landed'])
  const slow = world((_, nth) => ok(nth === 1 ? 120 : 100), { hedgeAfterMs: 100 })
  const [byFirst] = (await asked(slow, ['a'])).sources
  assert.deepEqual([byFirst!.tookMs, byFirst!.attempts, byFirst!.hedged], [120, 2, true])
  assert.deepEqual(slow.transport.ends, ['landed', 'aborted'])
})

test('no hedge is sent for an answer that is quick enough, nor with one attempt, nor without a budget', async () => {
  const quick = await asked(
    world(() => ok(99), { hedgeAfterMs: 100 }),
    ['a'],
  )
  const single = await asked(
    world(() => ok(500), { hedgeAfterMs: 100, attempts: 1 }),
    ['a'],
  )
  const poor = await asked(
    world(() => ok(500), { hedgeAfterMs: 100, retryBudget: 0 }),
    ['a'],
  )
  for (const { sources } of [quick, single, poor])
    assert.deepEqual([sources[0]!.attempts, sources[0]!.hedged], [1, false])
})

test('a hedge is for the attempt it was set up with: when that fails, a retry comes in its place', async () => {
  const there = world((_, nth) => (nth === 1 ? fails(10) : ok(30)), { hedgeAfterMs: 100, attempts: 3 })
  const [source] = (await asked(there, ['a'])).sources
  assert.deepEqual([source!.attempts, source!.hedged, there.transport.seen.length], [2, false, 2])
})

test('when one of two attempts fails, the other is waited for', async () => {
  const there = world((_, nth) => (nth === 1 ? fails(150) : ok(200)), { hedgeAfterMs: 100, attempts: 3 })
  const [source] = (await asked(there, ['a'])).sources
  assert.deepEqual([source!.status, source!.tookMs, source!.attempts], ['ok', 300, 2])
})

test('an open circuit spares the upstream until its time is over, then one trial decides', async () => {
  let well = false
  const there = world(() => (well ? ok(10) : fails(10)), { breakerFailures: 3, attempts: 1 })
  for (let i = 0; i < 3; i += 1) {
    void there.upstreams.aggregate(['a'], bounds()).catch(() => {})
    await there.clock.advance(10)
  }
  const told = there.upstreams.aggregate(['a'], bounds()).catch((error: unknown) => error as Failure)
  await there.clock.advance(0)
  assert.equal(((await told) as Failure).detail, 'a: circuit-open (not called: it failed too often just now)')
  assert.deepEqual([there.upstreams.stats()[0]!.breaker, there.transport.seen.length], ['open', 3])
  await there.clock.advance(5_000)
  well = true
  const trials = ['a', 'a', 'a'].map((name) => there.upstreams.aggregate([name], bounds()).catch(() => 'refused'))
  await there.clock.advance(10)
  const ends = (await Promise.all(trials)).map((end) => (end === 'refused' ? end : 'ok'))
  assert.deepEqual(ends, ['ok', 'refused', 'refused'])
  assert.deepEqual([there.upstreams.stats()[0]!.breaker, there.transport.seen.length], ['closed', 4])
})

test('a retry that is due when the circuit has opened meanwhile is not sent', async () => {
  const busy: Play = { afterMs: 10, outcome: answer(503, '', { 'retry-after': '1' }) }
  const there = world((_, nth) => (nth === 1 ? busy : fails(20)), { breakerFailures: 2, timeoutMs: 2_000 })
  const patient = there.upstreams.aggregate(['a'], bounds()).catch((error: unknown) => error as Failure)
  await refused(there, ['a'])
  assert.equal(((await patient) as Failure).detail, 'a: error (answered 503)')
  assert.equal(there.transport.seen.length, 2)
})

test('an upstream that hangs opens its circuit, and a client in a hurry does not', async () => {
  const hanging = world(() => undefined, { breakerFailures: 3 })
  for (let i = 0; i < 3; i += 1) await ask(hanging, ['a'])
  assert.equal(hanging.upstreams.stats()[0]!.breaker, 'open')
  const late = ({ headers }: Seen): Play => ({ afterMs: Number(headers[deadlineHeader]) - 1, outcome: answer(504) })
  for (const play of [late, () => undefined]) {
    const hurried = world(play, { breakerFailures: 3, attempts: 1 })
    for (let i = 0; i < 10; i += 1) await ask(hurried, ['a'], bounds(undefined, 100))
    assert.equal(hurried.upstreams.stats()[0]!.breaker, 'closed')
  }
})

test('a client that goes takes all attempts with it, at once', async () => {
  const there = world(({ path }) => (path === '/a?x=1' ? ok(10) : path === '/b' ? undefined : fails(40)), {
    hedgeAfterMs: 20,
    attempts: 3,
  })
  const client = new AbortController()
  const told = there.upstreams.aggregate(['a', 'b', 'c'], bounds(client)).catch((error: unknown) => error)
  await there.clock.advance(50)
  client.abort(new Failure('client-closed-request'))
  assert.deepEqual([there.transport.ends.includes('running'), there.clock.pending], [false, 0])
  assert.equal(((await told) as Failure).code, 'client-closed-request')
  const sent = there.transport.seen.length
  await there.clock.advance(5_000)
  assert.equal(there.transport.seen.length, sent)
  assert.equal(
    there.upstreams.stats().every(({ breaker }) => breaker === 'closed'),
    true,
  )
})

test('a client that goes before upstreams can be reached has them never called', async () => {
  const clock = new VirtualClock()
  const transport = new FakeTransport(clock, () => ok(1))
  const opening = Promise.withResolvers<FakeTransport>()
  const deps = { clock, random: () => 0, deadlineHeader, ownOrigin: () => '', openTransport: () => opening.promise }
  const client = new AbortController()
  const told = createUpstreams(defaults, deps).aggregate(['a'], bounds(client))
  client.abort(new Failure('client-closed-request'))
  opening.resolve(transport)
  await assert.rejects(told, { code: 'client-closed-request' })
  assert.equal(transport.seen.length, 0)
})

test('a call that finds all connections in use is refused at once, which is no failure of the upstream', async () => {
  const there = world(() => ok(100), { connections: 2, breakerFailures: 1 })
  const told = [1, 2, 3].map(() => there.upstreams.aggregate(['a', 'b'], bounds()).catch((error: unknown) => error))
  await there.clock.advance(0)
  assert.equal(
    ((await told[2]) as Failure).detail,
    'a: refused (not called: all 2 connections to it are in use); ' +
      'b: refused (not called: all 2 connections to it are in use)',
  )
  assert.equal(there.transport.seen.length, 4)
  await there.clock.advance(100)
  assert.equal((await asked(there, ['a'])).complete, true)
  assert.equal(there.upstreams.stats()[0]!.breaker, 'closed')
})

test('however calls end, they give their connections back', async () => {
  const ends: readonly Play[] = [ok(10), fails(10), undefined, { afterMs: 10, outcome: answer(404) }]
  const there = world((_, nth) => ends[nth % ends.length], { connections: 2, attempts: 3, hedgeAfterMs: 5 })
  for (let i = 0; i < 20; i += 1) await ask(there, ['a'])
  const client = new AbortController()
  const gone = ['a', 'b'].map((name) => there.upstreams.aggregate([name], bounds(client)).catch(() => 'gone'))
  await there.clock.advance(5)
  client.abort(new Failure('client-closed-request'))
  await Promise.all(gone)
  for (let i = 0; i < 20; i += 1) await ask(there, ['a'])
  assert.equal(there.upstreams.stats()[0]!.calls, 41)
  assert.ok(there.upstreams.stats()[0]!.attempts >= 41)
})

test('no retry and no hedge takes a connection that is not free', async () => {
  const play = ({ path }: Seen, nth: number): Play => (path !== '/a?x=1' || nth > 1 ? ok(500) : fails(10))
  const there = world(play, { connections: 1, hedgeAfterMs: 50, attempts: 3 })
  const first = there.upstreams.aggregate(['a', 'b'], bounds())
  await there.clock.advance(10)
  const second = there.upstreams.aggregate(['a'], bounds())
  await there.clock.advance(1_000)
  assert.deepEqual([(await first).complete, (await second).complete], [false, true])
  assert.deepEqual(
    there.upstreams.stats().map(({ attempts, retries, hedges }) => [attempts, retries, hedges]),
    [
      [2, 0, 0],
      [1, 0, 0],
      [0, 0, 0],
    ],
  )
})

test('each attempt is told the time that is left for it, always less than what was left for the request', async () => {
  const there = world((_, nth) => (nth === 1 ? fails(100) : ok(1)))
  await asked(there, ['a'], bounds(undefined, 400))
  const told = there.transport.seen.map(({ atMs, headers }) => [atMs, Number(headers[deadlineHeader])])
  assert.deepEqual(told[0], [0, 390])
  assert.equal(told[1]![1], Math.floor(390 - told[1]![0]!))
})

test('what has come by the deadline is answered before it; when nothing has, it is the deadline that is told', async () => {
  const some = world(({ path }) => (path === '/b' ? undefined : ok(10)))
  const { complete, tookMs } = await asked(some, ['a', 'b'], bounds(undefined, 200))
  assert.deepEqual([complete, tookMs], [false, 190])
  const none = await refused(
    world(() => undefined),
    ['a'],
    bounds(undefined, 200),
  )
  assert.deepEqual([none.code, none.detail], ['deadline-exceeded', 'a: timeout (no answer within 190 ms)'])
})

test('the request id is passed on, and nothing where there is none', async () => {
  const there = world(() => ok(1))
  void there.upstreams.aggregate(['a'], bounds(), 'id-1')
  await there.clock.advance(10)
  await asked(there, ['a'])
  assert.deepEqual(
    there.transport.seen.map(({ headers }) => headers['x-request-id']),
    ['id-1', undefined],
  )
})

/** Bounds of a request that is recorded on the clock of a world. */
const recorded = ({ clock }: World, controller?: AbortController) => {
  const trace = recordedTrace(clock)
  return { trace, within: Object.assign(bounds(controller), { span: trace.root }) }
}

const traceparents = ({ transport }: World): (string | undefined)[] =>
  transport.seen.map(({ headers }) => headers['traceparent'])

test('each attempt of a recorded request has a span, and sends its context', async () => {
  const there = world((_, nth) => (nth === 1 ? { afterMs: 10, outcome: answer(503) } : ok(10)))
  const { trace, within } = recorded(there)
  await asked(there, ['a'], within)
  assert.deepEqual(
    trace.spans.map(({ name, kind, errorType, attributes }) => ({ name, kind, errorType, ...attributes })),
    [
      { ...attempted, errorType: '503', 'http.response.status_code': 503 },
      { ...attempted, errorType: undefined, 'http.response.status_code': 200, 'http.request.resend_count': 1 },
    ],
  )
  assert.deepEqual(
    traceparents(there),
    trace.spans.map(({ id }) => `00-${trace.id}-${id}-01`),
  )
})

const attempted = {
  name: 'GET',
  kind: 'client',
  'http.request.method': 'GET',
  'server.address': 'a.test',
  'server.port': 80,
  'url.path': '/a',
  'plimsoll.upstream': 'a',
}

test('attempts of a request that is not recorded send the context that they are given', async () => {
  const there = world(() => ok(1))
  void there.upstreams.aggregate(['a'], bounds(), undefined, ['traceparent', '00-1-2-00', 'tracestate', 'v=1'])
  await there.clock.advance(10)
  await asked(there, ['a'])
  assert.deepEqual(traceparents(there), ['00-1-2-00', undefined])
  assert.equal(there.transport.seen[0]!.headers['tracestate'], 'v=1')
})

test('an attempt that is given up has ended, and says why: too late, or not needed any more', async () => {
  const late = world(() => undefined, { attempts: 1 })
  const { trace, within } = recorded(late)
  await ask(late, ['a'], within)
  assert.deepEqual(trace.spans.map(toldOf), [['GET', 0, 1_000, 'timeout']])

  const hedged = world((_, nth) => (nth === 1 ? undefined : ok(10)), { hedgeAfterMs: 50 })
  const second = recorded(hedged)
  await asked(hedged, ['a'], second.within)
  assert.deepEqual(second.trace.spans.map(toldOf), [
    ['GET', 0, 60, 'cancelled'],
    ['GET', 50, 60, undefined],
  ])

  const left = world(() => undefined)
  const controller = new AbortController()
  const third = recorded(left, controller)
  const told = left.upstreams.aggregate(['a'], third.within).catch(() => {})
  await left.clock.advance(5)
  controller.abort(new Failure('client-closed-request'))
  await told
  assert.deepEqual(third.trace.spans.map(toldOf), [['GET', 0, 5, 'cancelled']])
  assert.equal(left.upstreams.stats()[0]!.meter.calls.abandoned, 1)
})

test('each call is counted once by its end, and each attempt is measured once by its error', async () => {
  const there = world((_, nth) => (nth === 1 ? { afterMs: 10, outcome: broken } : ok(20)))
  await asked(there, ['a'])
  await asked(there, ['a'])
  const { meter } = there.upstreams.stats()[0]!
  const none = { timeout: 0, error: 0, refused: 0, invalid: 0, 'circuit-open': 0, abandoned: 0 }
  assert.deepEqual(meter.calls, { ok: 2, ...none })
  assert.deepEqual(
    [...meter.durations].map(([errorType, { sum }]) => [errorType, Math.round(sum * 1_000)]),
    [
      ['', 40],
      ['ECONNRESET', 10],
    ],
  )
})

test('however upstreams behave, a call ends in time with an end for each source, and leaves nothing running', async () => {
  const outcomes = fc.constantFrom(answer(200), answer(503), answer(500), answer(404), broken)
  const plays = fc.option(fc.record({ afterMs: fc.nat(1_500), outcome: outcomes }), { nil: undefined })
  const options = fc.record({
    attempts: fc.integer({ min: 1, max: 4 }),
    hedgeAfterMs: fc.constantFrom(0, 50, 300),
    breakerFailures: fc.integer({ min: 1, max: 5 }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(plays, { minLength: 1, maxLength: 12 }), options, async (script, options) => {
      const there = world((_, nth) => script[nth % script.length], options)
      const told = await ask(there, ['a', 'b', 'c'])
      assert.equal(there.transport.ends.includes('running'), false)
      if (told instanceof Failure) return
      assert.deepEqual(
        told.sources.map(({ name }) => name),
        ['a', 'b', 'c'],
      )
      assert.ok(told.tookMs <= 1_000)
      for (const { attempts } of told.sources) assert.ok(attempts <= options.attempts)
    }),
    { numRuns: 200, seed: 42 },
  )
})

test('without a configuration the upstreams are the own wait endpoints, where the service listens by then', async () => {
  const there = world(() => ok(1), { urls: undefined })
  assert.deepEqual(there.upstreams.names, ['weather', 'stocks', 'news'])
  await asked(there, ['weather', 'stocks', 'news'])
  assert.deepEqual(
    there.transport.seen.map(({ path }) => path),
    ['/work/wait?ms=200', '/work/wait?ms=300', '/work/wait?ms=100'],
  )
})

test('the transport is opened with the first call and closed with the upstreams', async () => {
  const clock = new VirtualClock()
  const transport = new FakeTransport(clock, () => ok(1))
  let opened = 0
  const openTransport = (): Promise<FakeTransport> => Promise.resolve(((opened += 1), transport))
  const deps = { clock, random: () => 0, deadlineHeader, ownOrigin: () => '', openTransport }
  await createUpstreams(defaults, deps)[Symbol.asyncDispose]()
  assert.deepEqual([opened, transport.closed], [0, false])
  const used = createUpstreams(defaults, deps)
  for (let i = 0; i < 2; i += 1) {
    void used.aggregate(['a'], bounds())
    await clock.advance(10)
  }
  await used[Symbol.asyncDispose]()
  assert.deepEqual([opened, transport.closed], [1, true])
})

test('a URL gives its origin, path and credentials, and nothing else', () => {
  assert.deepEqual(targetOf('http://h.test/a/../b?q=1#part'), { origin: 'http://h.test', path: '/b?q=1', headers: [] })
  const { origin, headers } = targetOf('https://us%40r:p%3Aw@h.test:8443')
  assert.deepEqual([origin, ...headers], ['https://h.test:8443', 'authorization', `Basic ${btoa('us@r:p:w')}`])
})

test('too many upstreams, and URLs that are none, are refused without telling a password', () => {
  const deps = { clock: new VirtualClock(), random: () => 0, deadlineHeader, ownOrigin: () => '' }
  const many = Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`u${i}`, 'http://h.test']))
  for (const urls of [many, { a: 'http://user:secret@[' }]) {
    assert.throws(
      () => createUpstreams({ ...defaults, urls }, deps),
      (error) =>
        error instanceof InputError && error.message.startsWith('UPSTREAMS: got ') && !error.message.includes('secret'),
    )
  }
})
