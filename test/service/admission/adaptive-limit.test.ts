import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { AdaptiveLimit } from '../../../src/service/admission/adaptive-limit.ts'
import { type Moment, simulate, type Simulation } from './queue-simulation.ts'

const serviceMs = 10

const mean = (moments: readonly Moment[]): number => moments.reduce((sum, { limit }) => sum + limit, 0) / moments.length

/** Share of the moments in which the limit is 0.7 to 1.5 times what Little's law says is best. */
const inBand = (moments: readonly Moment[], optimum: number): number =>
  moments.filter(({ limit }) => limit >= 0.7 * optimum && limit <= 1.5 * optimum).length / moments.length

const between = (moments: readonly Moment[], fromMs: number, toMs = Infinity): Moment[] =>
  moments.filter(({ atMs }) => atMs >= fromMs && atMs < toMs)

/** Slots all of whose work takes 10 ms, under a constant load. */
const system = (slots: number, load: number, parts: Partial<Simulation> = {}): Simulation => ({
  slots: () => slots,
  ratePerMs: () => (load * slots) / serviceMs,
  serviceMs: () => serviceMs,
  asked: true,
  durationMs: 6_000,
  seed: 7,
  limit: new AdaptiveLimit({ maxLimit: 10_000, initialLimit: 100 }),
  ...parts,
})

const exponential = (random: () => number): number => -serviceMs * Math.log(1 - random())

describe("it settles at 0.7 to 1.5 times Little's law optimum", () => {
  for (const slots of [1, 2, 4, 16, 100, 1_000]) {
    for (const load of [1.4, 10]) {
      for (const asked of [true, false]) {
        test(`${slots} slots, ${load} times their capacity, ${asked ? 'asked for' : 'own'} work of 10 ms`, () => {
          // From a queue of 100 that has to be worked off first, one slot takes its time.
          const settledMs = slots > 4 ? 1_000 : 5_000
          const durationMs = settledMs + 3_000
          const settled = between(simulate(system(slots, load, { asked, durationMs })), settledMs)
          const found = mean(settled) / slots
          assert.ok(found >= 0.7 && found <= 1.5, `mean ${found}`)
          // A limit of 1 can only be compared with 2.
          const share = inBand(settled, slots)
          assert.ok(share >= (slots === 1 ? 0.75 : 0.97), `in the band ${share} of the time`)
        })
      }
    }
  }

  for (const slots of [1, 2, 4, 16, 100]) {
    test(`${slots} slots, exponential work that was asked for`, () => {
      const settled = between(simulate(system(slots, 1.4, { serviceMs: exponential })), 3_000)
      const found = mean(settled) / slots
      assert.ok(found >= 0.7 && found <= 1.5, `mean ${found}`)
    })
  }

  for (const slots of [16, 100, 1_000]) {
    test(`${slots} slots, exponential work of unknown length`, () => {
      const durationMs = slots === 1_000 ? 5_000 : 20_000
      const settled = between(simulate(system(slots, 1.4, { serviceMs: exponential, asked: false, durationMs })), 4_000)
      const found = mean(settled) / slots
      assert.ok(found >= 0.7 && found <= 1.5, `mean ${found}`)
    })
  }
})

describe('it is back in the band 300 ms after', () => {
  const inTime = (simulation: Simulation, slots: number, stepMs: number): void => {
    const after = between(simulate(simulation), stepMs + 300, stepMs + 2_000)
    assert.ok(inBand(after, slots) >= 0.95, `in the band ${inBand(after, slots)} of the time`)
    const slow = after.filter(({ latencyMs }) => latencyMs > 2 * serviceMs)
    assert.ok(slow.length <= after.length * 0.05, `${slow.length} of ${after.length} moments over twice the work`)
  }

  for (const slots of [4, 16, 100, 1_000]) {
    for (const asked of [true, false]) {
      test(`the load rises from 0.5 to 1.4 times the capacity of ${slots} slots, ${asked ? 'asked' : 'own'} work`, () => {
        const ratePerMs = (atMs: number): number => ((atMs < 2_000 ? 0.5 : 1.4) * slots) / serviceMs
        const limit = new AdaptiveLimit({ maxLimit: 10_000 })
        inTime(system(slots, 0, { asked, ratePerMs, limit, durationMs: 4_000 }), slots, 2_000)
      })
    }

    test(`the capacity falls from ${2 * slots} to ${slots} slots`, () => {
      const ratePerMs = (): number => (1.4 * slots) / serviceMs
      const limit = new AdaptiveLimit({ maxLimit: 10_000 })
      const slotsAt = (atMs: number): number => (atMs < 2_000 ? 2 * slots : slots)
      inTime(system(slots, 0, { ratePerMs, slots: slotsAt, limit, durationMs: 4_000 }), slots, 2_000)
    })
  }
})

const asking = (random: () => number, atMs: number): number => (atMs < 3_000 ? 10 : 100) * (0.5 + random())

test('what clients ask for does not move it: a tenfold ?ms= under the same number of slots', () => {
  const moments = simulate(
    system(16, 0, {
      serviceMs: asking,
      ratePerMs: (atMs) => (1.4 * 16) / (atMs < 3_000 ? 10 : 100),
      durationMs: 8_000,
    }),
  )
  assert.ok(inBand(between(moments, 2_000, 3_000), 16) === 1)
  assert.ok(inBand(between(moments, 3_600), 16) >= 0.97, `${inBand(between(moments, 3_600), 16)}`)
})

const slower = (_: () => number, atMs: number): number => (atMs < 3_000 ? 5 : 20)

test('work of its own that becomes slower for good is measured anew', () => {
  const moments = simulate(
    system(16, 0, { asked: false, serviceMs: slower, ratePerMs: () => (1.4 * 16) / 5, durationMs: 8_000 }),
  )
  assert.ok(inBand(between(moments, 2_000, 3_000), 16) >= 0.97)
  assert.ok(inBand(between(moments, 5_000), 16) >= 0.97, `${inBand(between(moments, 5_000), 16)}`)
})

test('it goes up from 4 to thousands within 2 s, as long as nobody waits', () => {
  const limit = new AdaptiveLimit({ maxLimit: 10_000, initialLimit: 4 })
  const moments = simulate(system(1e9, 0, { ratePerMs: () => 400, limit, durationMs: 2_000 }))
  assert.ok(moments.at(-1)!.limit >= 4_000, `${moments.at(-1)!.limit}`)
})

test('4,000 at once that only wait are all let in from the start', () => {
  const limit = new AdaptiveLimit({ maxLimit: 10_000 })
  for (let round = 1; round <= 20; round++) {
    for (let i = 4_000; i > 0; i--) limit.sample(round * 100 + i / 1_000, 100 + i / 1_000, 100, i)
    assert.ok(limit.limit >= 4_000, `round ${round}: ${limit.limit}`)
  }
})

test('it does not grow while less than half of it is used', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 4, max: 1_000 }),
      fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })),
      (start, random) => {
        const limit = new AdaptiveLimit({ maxLimit: 10_000, initialLimit: start })
        for (let atMs = 1; atMs < 3_000; atMs += 2) {
          const inFlight = 1 + Math.floor((random.next().value * (start - 1)) / 2 / 1.01)
          limit.sample(atMs, 1, 1, Math.min(inFlight, Math.ceil(start / 2) - 1))
          assert.equal(limit.limit, start)
        }
      },
    ),
    { seed: 1, numRuns: 50 },
  )
})

test('it is a whole number from 1 to its maximum, whatever the samples', () => {
  const duration = fc.double({ min: 0, max: 10_000, noNaN: true })
  const sample = fc.record({ passMs: duration, durationMs: duration, requestedMs: duration, inFlight: fc.nat(2_000) })
  fc.assert(
    fc.property(
      fc.array(sample, { maxLength: 400, size: 'max' }),
      fc.integer({ min: 1, max: 500 }),
      (samples, maxLimit) => {
        const limit = new AdaptiveLimit({ maxLimit })
        let atMs = 0
        for (const { passMs, durationMs, requestedMs, inFlight } of samples) {
          atMs += passMs / 100
          limit.sample(atMs, durationMs, requestedMs, inFlight)
          assert.ok(Number.isInteger(limit.limit) && limit.limit >= 1 && limit.limit <= maxLimit, `${limit.limit}`)
        }
      },
    ),
    { seed: 1, numRuns: 200 },
  )
})
