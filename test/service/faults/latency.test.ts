import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { seededRandom } from '../../../src/kit/random.ts'
import { type LatencyDistribution, latencySampler } from '../../../src/service/faults/latency.ts'

const unlimited = { maxMs: Number.MAX_VALUE }

const draws = (latency: LatencyDistribution, count: number, seed: number): Float64Array => {
  const sample = latencySampler(latency, seededRandom(seed))
  return Float64Array.from({ length: count }, sample)
}

const meanOf = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / values.length

const assertNear = (actual: number, expected: number, share: number, what: string): void =>
  assert.ok(Math.abs(actual - expected) <= share * expected, `${what}: ${actual}, expected ${expected}`)

type Law = {
  readonly latency: LatencyDistribution
  /** Its quantile function. */
  readonly quantile: (p: 0.1 | 0.5 | 0.9 | 0.99) => number
}

/** Of the standard normal distribution. */
const normal = { 0.1: -1.281_551_565_5, 0.5: 0, 0.9: 1.281_551_565_5, 0.99: 2.326_347_874 }

const sigma = Math.sqrt(Math.log(2))

const laws: readonly Law[] = [
  { latency: { distribution: 'constant', meanMs: 50, ...unlimited }, quantile: () => 50 },
  { latency: { distribution: 'uniform', meanMs: 50, spreadMs: 20, ...unlimited }, quantile: (p) => 30 + 40 * p },
  { latency: { distribution: 'exponential', meanMs: 50, ...unlimited }, quantile: (p) => -50 * Math.log(1 - p) },
  {
    latency: { distribution: 'lognormal', meanMs: 50, cv: 1, ...unlimited },
    quantile: (p) => (50 / Math.SQRT2) * Math.exp(sigma * normal[p]),
  },
  {
    latency: { distribution: 'pareto', meanMs: 50, shape: 3, ...unlimited },
    quantile: (p) => (100 / 3) * (1 - p) ** (-1 / 3),
  },
]

for (const { latency, quantile } of laws) {
  test(`${latency.distribution}: the mean is meanMs and the quantiles are those of the distribution`, () => {
    const sorted = draws(latency, 200_000, 7).toSorted()
    assertNear(meanOf(sorted), latency.meanMs, 0.01, 'mean')
    for (const p of [0.1, 0.5, 0.9, 0.99] as const) {
      assertNear(sorted[Math.floor(p * sorted.length)]!, quantile(p), 0.02, `quantile ${p}`)
    }
  })
}

const anyLatency: fc.Arbitrary<LatencyDistribution> = fc
  .record({
    distribution: fc.constantFrom('constant', 'uniform', 'exponential', 'lognormal', 'pareto'),
    meanMs: fc.double({ min: 0.001, max: 60_000, noNaN: true }),
    maxMs: fc.double({ min: 0, max: 60_000, noNaN: true }),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
    cv: fc.double({ min: 0, max: 20, noNaN: true }),
    shape: fc.double({ min: 1.1, max: 100, noNaN: true }),
  })
  .map(({ share, ...latency }) => ({ ...latency, spreadMs: share * latency.meanMs }))

test('no draw is negative, longer than maxMs, or not a number', () => {
  fc.assert(
    fc.property(anyLatency, fc.nat(), (latency, seed) =>
      draws(latency, 100, seed).every((ms) => ms >= 0 && ms <= latency.maxMs),
    ),
    { seed: 2026 },
  )
})

test('the same seed gives the same latencies, another seed others', () => {
  const latency = laws[2]!.latency
  assert.deepEqual(draws(latency, 50, 1), draws(latency, 50, 1))
  assert.notDeepEqual(draws(latency, 50, 1), draws(latency, 50, 2))
})
