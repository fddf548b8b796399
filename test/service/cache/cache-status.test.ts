import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cacheStatus } from '../../../src/service/cache/cache-status.ts'

const hit = (freshMs: number): string => cacheStatus({ source: 'hit', freshMs })

test('a hit says for how many whole seconds it stays fresh; below zero it is stale', () => {
  assert.equal(hit(9_999), 'plimsoll; hit; ttl=9')
  assert.equal(hit(1), 'plimsoll; hit; ttl=0')
  assert.equal(hit(-1), 'plimsoll; hit; ttl=-1')
  assert.equal(hit(-2_500), 'plimsoll; hit; ttl=-3')
})

test('what was forwarded says why', () => {
  const sources = ['miss', 'collapsed', 'partial', 'bypass'] as const
  assert.deepEqual(
    sources.map((source) => cacheStatus({ source, freshMs: 0 })),
    ['plimsoll; fwd=miss', 'plimsoll; fwd=miss; collapsed', 'plimsoll; fwd=partial', 'plimsoll; fwd=bypass'],
  )
})
