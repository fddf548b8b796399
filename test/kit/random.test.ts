import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { seededRandom, xoshiro128, type Random } from '../../src/kit/random.ts'

const seeds = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })

const take = (count: number, random: Random): number[] => Array.from({ length: count }, random)

test('xoshiro128** gives the outputs of the reference implementation', () => {
  const expected = [11_520, 0, 5_927_040, 70_819_200, 2_031_721_883, 1_637_235_492]
  assert.deepEqual(take(expected.length, xoshiro128([1, 2, 3, 4])), expected)
})

test('the same seed gives the same stream, another seed another one', () => {
  fc.assert(
    fc.property(seeds, seeds, (a, b) => {
      assert.deepEqual(take(20, seededRandom(a)), take(20, seededRandom(a)))
      if (a !== b) assert.notDeepEqual(take(20, seededRandom(a)), take(20, seededRandom(b)))
    }),
  )
})

test('seeds that differ by one, or only above 32 bits, give streams without anything in common', () => {
  const [a, b, c] = [7, 8, 7 + 2 ** 32].map((seed) => new Set(take(1_000, seededRandom(seed))))
  assert.equal(a!.intersection(b!).size, 0)
  assert.equal(a!.intersection(c!).size, 0)
})

test('values are uniform in [0, 1): mean and variance within four standard errors', () => {
  const count = 20_000
  fc.assert(
    fc.property(seeds, (seed) => {
      const values = take(count, seededRandom(seed))
      assert.ok(values.every((value) => value >= 0 && value < 1))
      const mean = values.reduce((sum, value) => sum + value, 0) / count
      const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1)
      assert.ok(Math.abs(mean - 1 / 2) < 4 * Math.sqrt(1 / 12 / count))
      assert.ok(Math.abs(variance - 1 / 12) < 4 * Math.sqrt(1 / 180 / count))
    }),
    { seed: 1, numRuns: 50 },
  )
})
