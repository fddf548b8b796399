import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Allowance } from '../../../src/service/telemetry/allowance.ts'

const taken = (allowance: Allowance, times: number, nowMs: number): number =>
  Array.from({ length: times }, () => allowance.take(nowMs)).filter(Boolean).length

test('a burst is allowed at once, then so many a second', () => {
  const allowance = new Allowance(10, 25)
  assert.equal(taken(allowance, 100, 0), 25)
  assert.equal(taken(allowance, 100, 1_000), 10)
  assert.equal(taken(allowance, 100, 1_050), 0)
  assert.equal(taken(allowance, 100, 1_100), 1)
})

test('a long pause brings no more than the burst back', () => {
  const allowance = new Allowance(10, 25)
  assert.equal(taken(allowance, 25, 0), 25)
  assert.equal(taken(allowance, 100, 1e9), 25)
})
