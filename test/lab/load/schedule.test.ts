import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { planArrivals, type SchedulePlan } from '../../../src/lab/load/schedule.ts'

const plans: fc.Arbitrary<SchedulePlan> = fc.record({
  arrivals: fc.constantFrom('constant', 'poisson'),
  ratePerSecond: fc.double({ min: 0.5, max: 2_000, noNaN: true }),
  endMs: fc.integer({ min: 1, max: 3_000 }),
  seed: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
})

const arrivalsOf = (plan: SchedulePlan): number[] => {
  const schedule = planArrivals(plan)
  const arrivals: number[] = []
  for (let atMs = schedule.next(); atMs !== Infinity; atMs = schedule.next()) arrivals.push(atMs)
  return arrivals
}

const gapsOf = (arrivals: readonly number[]): number[] =>
  arrivals.map((atMs, index) => atMs - (arrivals[index - 1] ?? 0))

const meanOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

test('the same plan gives the same arrivals', () => {
  fc.assert(fc.property(plans, (plan) => assert.deepEqual(arrivalsOf(plan), arrivalsOf(plan))))
})

test('arrivals are in order, from 0 on and before the end', () => {
  fc.assert(
    fc.property(plans, (plan) => {
      const arrivals = arrivalsOf(plan)
      assert.ok(gapsOf(arrivals).every((gapMs) => gapMs >= 0))
      assert.ok(arrivals.every((atMs) => atMs >= 0 && atMs < plan.endMs))
    }),
  )
})

test('a schedule that has ended stays ended', () => {
  const schedule = planArrivals({ arrivals: 'poisson', ratePerSecond: 1, endMs: 1, seed: 3 })
  assert.deepEqual([schedule.next(), schedule.next(), schedule.next()], [Infinity, Infinity, Infinity])
})

test('constant arrivals are rate times duration, evenly spaced without drift', () => {
  const arrivals = arrivalsOf({ arrivals: 'constant', ratePerSecond: 300, endMs: 3_600_000, seed: 0 })
  assert.equal(arrivals.length, 1_080_000)
  assert.equal(arrivals[300 * 3_599], 3_599_000)
  assert.ok(gapsOf(arrivals).every((gapMs, index) => index === 0 || Math.abs(gapMs - 10 / 3) < 1e-6))
})

test('Poisson gaps have the mean and the variance of an exponential distribution, within four standard errors', () => {
  const ratePerSecond = 500
  fc.assert(
    fc.property(fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }), (seed) => {
      const gaps = gapsOf(arrivalsOf({ arrivals: 'poisson', ratePerSecond, endMs: 40_000, seed }))
      const meanMs = 1_000 / ratePerSecond
      const found = meanOf(gaps)
      assert.ok(Math.abs(found - meanMs) < (4 * meanMs) / Math.sqrt(gaps.length), `mean ${found}`)
      const squaredVariation = meanOf(gaps.map((gapMs) => (gapMs - found) ** 2)) / found ** 2
      // The standard error of the squared coefficient of variation of an exponential sample is near sqrt(4 / n).
      assert.ok(Math.abs(squaredVariation - 1) < 4 * Math.sqrt(4 / gaps.length), `c² ${squaredVariation}`)
    }),
    { seed: 1, numRuns: 50 },
  )
})

test('Poisson counts in disjoint windows have a variance equal to their mean', () => {
  const windowMs = 100
  const arrivals = arrivalsOf({ arrivals: 'poisson', ratePerSecond: 200, endMs: 200_000, seed: 11 })
  const counts = Array.from({ length: 2_000 }, () => 0)
  for (const atMs of arrivals) counts[Math.floor(atMs / windowMs)]!++
  const mean = meanOf(counts)
  const dispersion = meanOf(counts.map((count) => (count - mean) ** 2)) / mean
  assert.ok(Math.abs(dispersion - 1) < 4 * Math.sqrt(2 / counts.length), `index of dispersion ${dispersion}`)
})
