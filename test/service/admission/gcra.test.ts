import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  gcra,
  gcraLua,
  type GcraLimit,
  type GcraVerdict,
  gcraVerdict,
  serverNowLua,
} from '../../../src/service/admission/gcra.ts'
import { type Script, Valkey } from '../../../src/service/valkey.ts'
import { startValkey, withoutRedis } from '../../support/valkey.ts'
import { until } from '../../support/until.ts'

const seed = 2026

/** Decides about requests at these times, one after the other. */
const decide = (timesMs: readonly number[], limit: GcraLimit, startTatMs = -Infinity): GcraVerdict[] => {
  let tatMs = startTatMs
  return timesMs.map((nowMs) => {
    const verdict = gcra(tatMs, nowMs, limit)
    tatMs = verdict.tatMs
    return verdict
  })
}

const limitOf = (shortestMs: number): fc.Arbitrary<GcraLimit> =>
  fc.record({
    emissionMs: fc.oneof(
      fc.constantFrom(shortestMs, 10, 1_000 / 3, 3_600_000),
      fc.double({ min: shortestMs, max: 1e6, noNaN: true }),
    ),
    burst: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 300 })),
  })

/**
 * A limit, and the time of the first request: on the clock of a new process, and, for rates that a double can carry so
 * far, on that of Valkey a year or a decade after it was set.
 */
const settings: fc.Arbitrary<readonly [GcraLimit, number]> = fc.oneof(
  fc.tuple(limitOf(0.01), fc.constantFrom(0, 12.345678)),
  fc.tuple(limitOf(1), fc.constantFrom(3e10 + 0.125, 3e11)),
)

/** Gaps between requests, in emission intervals: floods, about the limit, and pauses. */
const gaps = fc.array(
  fc.oneof(fc.constant(0), fc.double({ min: 0, max: 2, noNaN: true }), fc.double({ min: 0, max: 50, noNaN: true })),
  { minLength: 1, maxLength: 300 },
)

const timesOf = (startMs: number, spans: readonly number[], { emissionMs }: GcraLimit): number[] => {
  let nowMs = startMs
  return spans.map((gap) => (nowMs += gap * emissionMs))
}

test('after a pause, as many as the burst are allowed at once, and no more', () => {
  fc.assert(
    fc.property(settings, ([limit, startMs]) => {
      const verdicts = decide(Array(limit.burst + 5).fill(startMs), limit)
      assert.equal(verdicts.filter(({ allowed }) => allowed).length, limit.burst)
      assert.deepEqual(
        verdicts.slice(0, limit.burst).map(({ remaining }) => remaining),
        Array.from({ length: limit.burst }, (_, n) => limit.burst - 1 - n),
      )
    }),
    { seed },
  )
})

test('in any time span, at most the burst and what the rate gives in it are allowed', () => {
  fc.assert(
    fc.property(settings, gaps, ([limit, startMs], spans) => {
      const times = timesOf(startMs, spans, limit)
      const verdicts = decide(times, limit)
      const allowed = times.filter((_, index) => verdicts[index]!.allowed)
      for (const [first, from] of allowed.entries()) {
        for (let last = first; last < allowed.length; last++) {
          const most = limit.burst + (allowed[last]! - from) / limit.emissionMs
          assert.ok(last - first + 1 <= most + 0.02, `${last - first + 1} allowed, at most ${most}`)
        }
      }
    }),
    { seed },
  )
})

test('requests at a steady rate up to the limit are never refused', () => {
  const slower = fc.oneof(fc.constant(1), fc.double({ min: 1, max: 3, noNaN: true }))
  fc.assert(
    fc.property(settings, slower, ([limit, startMs], times) => {
      const verdicts = decide(timesOf(startMs, Array<number>(2_000).fill(times), limit), limit)
      assert.ok(verdicts.every(({ allowed }) => allowed))
    }),
    { seed },
  )
})

test('under a lasting flood exactly the rate is allowed', () => {
  fc.assert(
    fc.property(settings, fc.double({ min: 0.02, max: 0.9, noNaN: true }), ([given, startMs], gap) => {
      // With a burst of 1 a request that is a little late has cost the client that little.
      const limit = { ...given, burst: given.burst + 1 }
      const times = timesOf(startMs, Array<number>(5_000).fill(gap), limit)
      const allowed = decide(times, limit).filter((verdict) => verdict.allowed).length
      const expected = limit.burst + (5_000 - 1) * gap
      assert.ok(Math.abs(allowed - Math.min(expected, 5_000)) <= 1 + expected * 0.001, `${allowed} of ${expected}`)
    }),
    { seed },
  )
})

test('a refused request is allowed when it comes again after the time that it was told, and not before', () => {
  fc.assert(
    fc.property(settings, gaps, ([limit, startMs], spans) => {
      const [last] = decide(timesOf(startMs, spans, limit), limit).slice(-1)
      const nowMs = timesOf(startMs, spans, limit).at(-1)!
      const refused = decide(Array(limit.burst + 1).fill(nowMs), limit, last!.tatMs).at(-1)!
      assert.equal(refused.allowed, false)
      assert.ok(refused.retryAfterMs > 0 && refused.retryAfterMs <= limit.emissionMs * 1.02)
      assert.equal(gcra(refused.tatMs, nowMs + refused.retryAfterMs, limit).allowed, true)
      assert.equal(gcra(refused.tatMs, nowMs + refused.retryAfterMs - 0.02 * limit.emissionMs, limit).allowed, false)
    }),
    { seed },
  )
})

test('what is left is what is allowed at once, and all of it is when the reset has come', () => {
  fc.assert(
    fc.property(settings, gaps, ([limit, startMs], spans) => {
      const times = timesOf(startMs, spans, limit)
      const last = decide(times, limit).at(-1)!
      const more = decide(Array(limit.burst + 2).fill(times.at(-1)!), limit, last.tatMs)
      assert.equal(more.filter(({ allowed }) => allowed).length, last.remaining)
      const later = decide(Array(limit.burst + 2).fill(times.at(-1)! + last.resetMs), limit, last.tatMs)
      assert.equal(later.filter(({ allowed }) => allowed).length, limit.burst)
    }),
    { seed },
  )
})

test('a clock that was set back makes nobody wait for longer than one who has used everything up', () => {
  fc.assert(
    fc.property(limitOf(0.01), fc.double({ min: 1, max: 1e9, noNaN: true }), (limit, backMs) => {
      const spent = decide(Array(limit.burst).fill(backMs), limit).at(-1)!
      const { retryAfterMs } = gcra(spent.tatMs, 0, limit)
      assert.ok(retryAfterMs <= limit.emissionMs * 1.02, `${retryAfterMs} ms`)
    }),
    { seed },
  )
})

const connect = async (url: string): Promise<Valkey> => {
  const valkey = new Valkey({ url, commandTimeoutMs: 1_000, random: () => 0, onEvent: () => {} })
  await valkey.open()
  await until('reachable', () => valkey.reachable)
  return valkey
}

const run = async (valkey: Valkey, script: Script, key: string, args: readonly number[]): Promise<[number, number]> => {
  const [allowed, ahead] = (await valkey.script(script, [key], args.map(String))) as [number, string]
  return [allowed, Number(ahead)]
}

test('Lua and TypeScript decide alike, to the last bit', { skip: withoutRedis, timeout: 60_000 }, async () => {
  await using server = await startValkey()
  await using valkey = await connect(server.url)
  const script = { lua: gcraLua('tonumber(ARGV[3])') }
  let key = 0
  await fc.assert(
    fc.asyncProperty(settings, gaps, async ([limit, startMs], spans) => {
      key++
      let tatMs = 0
      for (const nowMs of timesOf(startMs, spans.slice(0, 60), limit)) {
        const expected = gcra(tatMs, nowMs, limit)
        const [allowed, aheadMs] = await run(valkey, script, `test:${key}`, [limit.emissionMs, limit.burst, nowMs])
        // What time does to a key is not what is tested here; all times but these are made up.
        await valkey.command('PERSIST', `test:${key}`)
        assert.deepEqual(gcraVerdict(allowed === 1, aheadMs, nowMs, limit), expected)
        tatMs = expected.tatMs
      }
    }),
    { seed, numRuns: 60 },
  )
})

test(
  "Lua's own clock is that of the server, and a key lives until its bucket is full",
  { skip: withoutRedis },
  async () => {
    await using server = await startValkey()
    await using valkey = await connect(server.url)
    const script = { lua: gcraLua(serverNowLua) }
    const take = (): Promise<[number, number]> => run(valkey, script, 'test', [200, 2])
    assert.deepEqual(await take(), [1, 200])
    const [allowed, aheadMs] = await take()
    assert.ok(allowed === 1 && aheadMs > 300 && aheadMs < 400, `${aheadMs}`)
    assert.equal((await take())[0], 0)
    const lifeMs = (await valkey.command('PTTL', 'test')) as number
    assert.ok(lifeMs > 250 && lifeMs <= 400, `${lifeMs}`)
    await until('gone', async () => (await valkey.command('EXISTS', 'test')) === 0)
  },
)
