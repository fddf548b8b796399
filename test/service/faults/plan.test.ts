import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as z from 'zod'
import { InputError } from '../../../src/kit/errors.ts'
import { isOff, parsePlan, planSchema } from '../../../src/service/faults/plan.ts'

const mistakesIn = (plan: Readonly<Record<string, unknown>>): Record<string, string> => {
  try {
    parsePlan(plan)
    return {}
  } catch (error) {
    assert.ok(error instanceof InputError, String(error))
    return Object.fromEntries(error.mistakes.map(({ field, accepted }) => [field, accepted]))
  }
}

const everything = {
  seed: 7,
  latency: { distribution: 'lognormal', meanMs: 50, cv: 2, maxMs: 1_000 },
  errors: { share: 0.05 },
  ready: false,
  slowStart: { forMs: 30_000, latencyMs: 500 },
  leak: { mbPerSecond: 5, upToMb: 512 },
  stalls: { everyMs: 1_000, forMs: 100 },
  forMs: 60_000,
}

test('a plan of all faults is read as it was given', () => {
  assert.deepEqual(parsePlan(everything), everything)
  assert.equal(isOff(parsePlan(everything)), false)
})

test('what is left out is off, and an empty plan is off altogether', () => {
  assert.deepEqual(parsePlan({}), { seed: 1 })
  assert.equal(isOff(parsePlan({})), true)
  assert.equal(isOff(parsePlan({ seed: 3, forMs: 1_000 })), true)
  for (const kind of ['latency', 'errors', 'ready', 'slowStart', 'leak', 'stalls'] as const) {
    assert.equal(isOff(parsePlan({ [kind]: everything[kind] })), false, kind)
  }
})

test('every mistake is named by its path, at once', () => {
  const wrong = {
    latency: { distribution: 'gauss', meanMs: 5 },
    errors: { share: 1.5, shar: 0.5 },
    ready: 'no',
    slowStart: {},
    leak: 5,
    stalls: { everyMs: 100, forMs: 100 },
    seed: 0.5,
    forMs: 0,
    latancy: {},
  }
  assert.deepEqual(mistakesIn(wrong), {
    seed: 'a whole number from 0 to 4294967295',
    'latency.distribution': 'one of constant, uniform, exponential, lognormal, pareto',
    'errors.share': 'a number from 0 to 1',
    'errors.shar': 'only share',
    ready: 'false, or nothing',
    'slowStart.forMs': 'a number from 1 to 3600000',
    'slowStart.latencyMs': 'a number from 0.001 to 60000',
    leak: 'an object with mbPerSecond, upToMb',
    'stalls.forMs': 'a number less than everyMs',
    forMs: 'a number from 1 to 86400000',
    latancy: 'only seed, latency, errors, ready, slowStart, leak, stalls, forMs',
  })
})

test('a parameter of another distribution is a mistake', () => {
  assert.deepEqual(mistakesIn({ latency: { distribution: 'constant', meanMs: 50, cv: 1 } }), {
    'latency.cv': 'only distribution, meanMs, maxMs',
  })
  assert.deepEqual(mistakesIn({ latency: { distribution: 'uniform', meanMs: 50, spreadMs: 51 } }), {
    'latency.spreadMs': 'a number from 0 to meanMs',
  })
  assert.deepEqual(mistakesIn({ latency: 50 }), { latency: 'an object with distribution, meanMs, maxMs' })
})

/** Every schema of a number within another, by its path. */
const numbersIn = (schema: unknown, path = ''): [string, { minimum?: number; maximum?: number }][] => {
  if (typeof schema !== 'object' || schema === null) return []
  const { type } = schema as { type?: string }
  if (type === 'number' || type === 'integer') return [[path, schema]]
  return Object.entries(schema).flatMap(([key, inner]) => numbersIn(inner, `${path}/${key}`))
}

test('the document of a plan can be made, and bounds every number', () => {
  const numbers = numbersIn(z.toJSONSchema(planSchema(), { io: 'input' }))
  assert.ok(numbers.length > 20)
  for (const [path, { minimum, maximum }] of numbers) {
    assert.ok(minimum !== undefined && maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER, path)
  }
})
