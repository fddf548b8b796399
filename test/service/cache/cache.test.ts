import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Cancellation } from '../../../src/kit/cancellation.ts'
import { seededRandom } from '../../../src/kit/random.ts'
import { Cache, type CacheOptions, type Loaded } from '../../../src/service/cache/cache.ts'
import { cancelOf, recordedTrace, told } from '../../support/trace.ts'
import { VirtualClock } from '../work/virtual-clock.ts'

const make = (options: Partial<CacheOptions> = {}) => {
  const clock = new VirtualClock()
  // In the middle of the jitter: a TTL is what it says.
  const defaults: CacheOptions = { maxEntries: 100, ttlMs: 1_000, staleMs: 500, clock, random: () => 0.5 }
  const cache = new Cache<string, string>({ ...defaults, ...options })
  return { cache, clock }
}

/** Loads that end when the test says so. */
class Loads {
  readonly begun: { cancel: Cancellation; end: (value?: string) => void; fail: (error: Error) => void }[] = []

  readonly one = (cancel: Cancellation): Promise<string | undefined> => {
    const { promise, resolve, reject } = Promise.withResolvers<string | undefined>()
    this.begun.push({ cancel, end: resolve, fail: reject })
    return promise
  }

  get last() {
    return this.begun.at(-1)!
  }
}

const always = (value: string | undefined) => (): Promise<string | undefined> => Promise.resolve(value)

const never = (): Promise<never> => Promise.reject(new Error('not to be loaded'))

test('a hundred callers that miss one key at the same time share one load', async () => {
  const { cache } = make()
  const loads = new Loads()
  const callers = Array.from({ length: 100 }, () => cache.get('a', loads.one))
  loads.last.end('A')
  const found = await Promise.all(callers)
  assert.equal(loads.begun.length, 1)
  assert.ok(found.every(({ value }) => value === 'A'))
  assert.deepEqual(
    found.map(({ source }) => source),
    ['miss', ...Array.from({ length: 99 }, () => 'collapsed')],
  )
  assert.deepEqual(cache.stats, { hits: 0, stale: 0, misses: 100, loads: 1, loaded: 1, errors: 0, entries: 1 })
})

test('a value is served for its TTL, then for staleMs while one load renews it, then no more', async () => {
  const { cache, clock } = make()
  await cache.get('a', always('old'))
  await clock.advance(999)
  assert.deepEqual(await cache.get('a', never), { value: 'old', source: 'hit', freshMs: 1 })
  await clock.advance(101)
  const loads = new Loads()
  for (let i = 0; i < 10; i++) {
    assert.deepEqual(await cache.get('a', loads.one), { value: 'old', source: 'hit', freshMs: -100 })
  }
  assert.equal(loads.begun.length, 1)
  loads.last.end('new')
  await clock.advance(0)
  assert.deepEqual(await cache.get('a', never), { value: 'new', source: 'hit', freshMs: 1_000 })
  await clock.advance(1_500)
  assert.deepEqual(await cache.get('a', always('newer')), { value: 'newer', source: 'miss', freshMs: 0 })
  assert.deepEqual(cache.stats, { hits: 2, stale: 10, misses: 2, loads: 3, loaded: 3, errors: 0, entries: 1 })
})

test('a renewal that fails leaves the old value, and the next caller begins another', async () => {
  const { cache, clock } = make()
  await cache.get('a', always('old'))
  await clock.advance(1_000)
  assert.equal((await cache.get('a', () => Promise.reject(new Error('away')))).value, 'old')
  await clock.advance(0)
  assert.equal((await cache.get('a', always('new'))).value, 'old')
  await clock.advance(0)
  assert.equal((await cache.get('a', never)).value, 'new')
  assert.equal(cache.stats.errors, 1)
})

test('a renewal that finds nothing any more removes the value', async () => {
  const { cache, clock } = make()
  await cache.get('a', always('old'))
  await clock.advance(1_000)
  assert.equal((await cache.get('a', always(undefined))).value, 'old')
  await clock.advance(0)
  assert.equal(cache.stats.entries, 0)
})

test('TTLs are within a tenth of what is asked for, spread evenly, the same for the same seed', async () => {
  const ttls = async (seed: number): Promise<number[]> => {
    const { cache } = make({ random: seededRandom(seed), maxEntries: 1_000 })
    const keys = Array.from({ length: 1_000 }, (_, i) => `${i}`)
    for (const key of keys) await cache.get(key, always('x'))
    return Promise.all(keys.map(async (key) => (await cache.get(key, never)).freshMs))
  }
  const some = await ttls(7)
  assert.ok(some.every((ms) => ms >= 900 && ms < 1_100))
  const tenths = Map.groupBy(some, (ms) => Math.floor((ms - 900) / 20))
  assert.equal(tenths.size, 10)
  for (const tenth of tenths.values()) assert.ok(tenth.length > 60 && tenth.length < 140, `${tenth.length}`)
  assert.deepEqual(await ttls(7), some)
  assert.notDeepEqual(await ttls(8), some)
})

const from = (freshMs: number) => () => Promise.resolve([{ key: 'a', value: 'A', freshMs }])

test('a value that comes from a cache itself is fresh no longer than it was there', async () => {
  const { cache } = make()
  await cache.getMany(['a'], from(300))
  assert.equal((await cache.get('a', never)).freshMs, 300)
  cache.invalidate('a')
  await cache.getMany(['a'], from(5_000))
  assert.equal((await cache.get('a', never)).freshMs, 1_000)
})

test('a load that was under way when its key was invalidated is not kept', async () => {
  const { cache } = make()
  const loads = new Loads()
  const before = cache.get('a', loads.one)
  cache.invalidate('a')
  loads.last.end('old')
  assert.equal((await before).value, 'old')
  assert.equal(cache.stats.entries, 0)
})

test('who asks after an invalidation is not given what a load from before it finds, whichever ends first', async () => {
  for (const order of ['old first', 'new first']) {
    const { cache } = make()
    const loads = new Loads()
    const before = cache.get('a', loads.one)
    cache.invalidate('a')
    const after = cache.get('a', loads.one)
    assert.equal(loads.begun.length, 2)
    const ends = [() => loads.begun[0]!.end('old'), () => loads.begun[1]!.end('new')]
    for (const end of order === 'old first' ? ends : ends.toReversed()) end()
    assert.deepEqual([(await before).value, (await after).value], ['old', 'new'])
    assert.equal((await cache.get('a', never)).value, 'new', order)
  }
})

test('an invalidation also ends a renewal: the old value does not come back', async () => {
  const { cache, clock } = make()
  await cache.get('a', always('old'))
  await clock.advance(1_000)
  const loads = new Loads()
  await cache.get('a', loads.one)
  cache.invalidate('a')
  loads.last.end('old')
  await clock.advance(0)
  assert.equal(cache.stats.entries, 0)
  assert.deepEqual(await cache.get('a', always('new')), { value: 'new', source: 'miss', freshMs: 0 })
})

test('after any history of reads, writes and invalidations nobody is given a value from before the last write', async () => {
  const step = fc.constantFrom('read', 'write', 'end oldest', 'end newest', 'wait')
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const { cache, clock } = make({ ttlMs: 100, staleMs: 100 })
      let stored = 0
      const pending: (() => void)[] = []
      // What a load finds is what is stored when it begins; when it ends is up to the history.
      const load = (): Promise<string> => {
        const seen = `${stored}`
        return new Promise((resolve) => pending.push(() => resolve(seen)))
      }
      const reads: Promise<void>[] = []
      const read = async (): Promise<void> => {
        const least = stored
        const { value } = await cache.get('a', load)
        assert.ok(Number(value) >= least, `given ${value} after write ${least}`)
      }
      for (const what of steps) {
        if (what === 'read') reads.push(read())
        else if (what === 'wait') await clock.advance(60)
        else if (what === 'write') {
          stored++
          cache.invalidate('a')
        } else (what === 'end oldest' ? pending.shift() : pending.pop())?.()
        await clock.advance(0)
      }
      for (const end of pending) end()
      await Promise.all(reads)
    }),
    { numRuns: 300, seed: 11 },
  )
})

test('an error goes to all who wait for it and is not kept', async () => {
  const { cache } = make()
  const loads = new Loads()
  const callers = Array.from({ length: 10 }, () => cache.get('a', loads.one))
  const error = new Error('the database is away')
  loads.last.fail(error)
  for (const caller of callers) await assert.rejects(caller, error)
  assert.equal((await cache.get('a', always('A'))).value, 'A')
  assert.deepEqual([cache.stats.errors, cache.stats.loads], [1, 2])
})

test('that there is no value is told to all who wait and not kept', async () => {
  const { cache } = make()
  const loads = new Loads()
  const callers = [cache.get('a', loads.one), cache.get('a', loads.one)]
  loads.last.end(undefined)
  for (const caller of callers) assert.equal((await caller).value, undefined)
  assert.equal(cache.stats.entries, 0)
  assert.equal((await cache.get('a', always('A'))).value, 'A')
})

test('a caller that is cancelled leaves with its reason; the load goes on for the others', async () => {
  const { cache } = make()
  const loads = new Loads()
  const gone = new Error('the client went away')
  const client = new AbortController()
  const leaving = cache.get('a', loads.one, client.signal)
  const staying = cache.get('a', loads.one, new AbortController().signal)
  client.abort(gone)
  await assert.rejects(leaving, gone)
  assert.ok(!loads.last.cancel.aborted)
  loads.last.end('A')
  assert.equal((await staying).value, 'A')
  assert.equal((await cache.get('a', never)).value, 'A')
})

test('the load stops when the last caller has left, and who comes then begins another', async () => {
  const { cache } = make()
  const loads = new Loads()
  const clients = [new AbortController(), new AbortController()]
  const leaving = clients.map(({ signal }) => cache.get('a', loads.one, signal))
  clients[0]!.abort(new Error('first'))
  assert.ok(!loads.last.cancel.aborted)
  clients[1]!.abort(new Error('second'))
  const stopped = loads.last
  assert.ok(stopped.cancel.aborted)
  const next = cache.get('a', loads.one)
  assert.equal(loads.begun.length, 2)
  stopped.fail(new Error('cancelled'))
  await assert.rejects(leaving[0]!, /first/)
  await assert.rejects(leaving[1]!, /second/)
  loads.last.end('A')
  assert.equal((await next).value, 'A')
})

test('a caller that is cancelled already begins no load', async () => {
  const { cache } = make()
  await assert.rejects(cache.get('a', never, AbortSignal.abort(new Error('late'))), /late/)
  assert.equal(cache.stats.loads, 0)
})

test('a renewal does not stop when its caller leaves: that one has its answer', async () => {
  const { cache, clock } = make()
  await cache.get('a', always('old'))
  await clock.advance(1_000)
  const loads = new Loads()
  const client = new AbortController()
  await cache.get('a', loads.one, client.signal)
  client.abort()
  assert.ok(!loads.last.cancel.aborted)
  loads.last.end('new')
  await clock.advance(0)
  assert.equal((await cache.get('a', never)).value, 'new')
})

test('the entry that was used least recently makes room', async () => {
  const { cache } = make({ maxEntries: 2 })
  await cache.get('a', always('A'))
  await cache.get('b', always('B'))
  await cache.get('a', never)
  await cache.get('c', always('C'))
  assert.equal(cache.stats.entries, 2)
  assert.equal((await cache.get('a', never)).source, 'hit')
  assert.equal((await cache.get('b', always('B'))).source, 'miss')
})

type Letters = readonly Loaded<string, string>[]

const capitals = (asked: (readonly string[])[]) => (keys: readonly string[]) => {
  asked.push(keys)
  return Promise.resolve<Letters>(keys.toReversed().map((key) => ({ key, value: key.toUpperCase() })))
}

test('all keys of one request that are missing are loaded together, each once, and come in the order asked for', async () => {
  const { cache } = make()
  const asked: (readonly string[])[] = []
  await cache.get('b', always('B'))
  const found = await cache.getMany(['c', 'b', 'a', 'c'], capitals(asked))
  assert.deepEqual(found, { value: ['C', 'B', 'A', 'C'], source: 'partial', freshMs: 0 })
  assert.deepEqual(asked, [['c', 'a']])
  assert.equal((await cache.getMany(['a', 'b', 'c'], never)).source, 'hit')
})

test('keys that another request is loading are waited for, not loaded again', async () => {
  const { cache } = make()
  const loads = new Loads()
  const asked: (readonly string[])[] = []
  const first = cache.get('a', loads.one)
  const second = cache.getMany(['a', 'b'], capitals(asked))
  loads.last.end('first')
  assert.equal((await first).value, 'first')
  assert.deepEqual((await second).value, ['first', 'B'])
  assert.deepEqual(asked, [['b']])
})

test('all stale keys of a request are renewed together', async () => {
  const { cache, clock } = make()
  const asked: (readonly string[])[] = []
  await cache.getMany(['a', 'b'], capitals(asked))
  await clock.advance(1_000)
  for (let i = 0; i < 3; i++) assert.deepEqual((await cache.getMany(['a', 'b'], capitals(asked))).value, ['A', 'B'])
  assert.deepEqual(asked, [
    ['a', 'b'],
    ['a', 'b'],
  ])
})

test('while suspended nothing is kept, loads are still shared', async () => {
  const { cache } = make()
  await cache.get('a', always('old'))
  cache.suspend()
  const loads = new Loads()
  const callers = [cache.get('a', loads.one), cache.get('a', loads.one)]
  assert.equal(loads.begun.length, 1)
  loads.last.end('new')
  for (const caller of callers) assert.deepEqual(await caller, { value: 'new', source: 'bypass', freshMs: 0 })
  assert.equal((await cache.get('a', always('newer'))).value, 'newer')
  assert.equal(cache.stats.entries, 0)
})

test('a load from before resume is not kept: the news of its change may have been lost', async () => {
  const { cache } = make()
  cache.suspend()
  const loads = new Loads()
  const before = cache.get('a', loads.one)
  cache.resume()
  const after = cache.get('a', loads.one)
  loads.begun[0]!.end('old')
  loads.begun[1]!.end('new')
  assert.deepEqual([(await before).value, (await after).value], ['old', 'new'])
  assert.equal((await cache.get('a', never)).value, 'new')
})

test('with no entries allowed every caller loads for itself', async () => {
  const { cache } = make({ maxEntries: 0 })
  const loads = new Loads()
  const callers = [cache.get('a', loads.one), cache.get('a', loads.one)]
  loads.begun[0]!.end('1')
  loads.begun[1]!.end('2')
  assert.deepEqual(
    (await Promise.all(callers)).map(({ value, source }) => [value, source]),
    [
      ['1', 'bypass'],
      ['2', 'bypass'],
    ],
  )
  assert.equal(cache.stats.entries, 0)
})

test('a load that several share is part of what the first one is recorded as, and so is what it is made of', async () => {
  const { cache, clock } = make()
  const loads = new Loads()
  const [first, second] = [recordedTrace(clock), recordedTrace(clock)]
  const both = [first, second].map(({ root }) => cache.get('a', loads.one, cancelOf(root)))
  await clock.advance(5)
  loads.last.cancel.span!.child('query').end()
  loads.last.end('A')
  await Promise.all(both)
  assert.deepEqual(first.spans.map(told), [
    ['cache', 0, 5, undefined],
    ['query', 5, 5, undefined],
  ])
  assert.equal(first.spans[1]!.parent, first.spans[0])
  assert.deepEqual(second.spans, [])
})

test('a value from memory makes no span, and neither does one that is renewed behind the request', async () => {
  const { cache, clock } = make()
  const { root, spans } = recordedTrace(clock)
  await cache.get('a', always('A'))
  await cache.get('a', never, cancelOf(root))
  await clock.advance(1_001)
  await cache.get('a', always('B'), cancelOf(root))
  assert.deepEqual(spans, [])
})

test('what is counted of loads never falls, not while one is under way that will fail', async () => {
  const { cache } = make()
  const loads = new Loads()
  const answer = cache.get('a', loads.one)
  const { loaded, errors } = cache.stats
  loads.last.fail(new Error('no'))
  await assert.rejects(answer)
  assert.deepEqual([loaded, errors, cache.stats.loaded, cache.stats.errors], [0, 0, 0, 1])
})
