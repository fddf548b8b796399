import assert from 'node:assert/strict'
import { test } from 'node:test'
import { releaseMemory } from '../../src/kit/memory.ts'

test('a chunk with memory of its own gives it back, and is empty then', () => {
  const chunk = Buffer.alloc(100_000)
  const before = process.memoryUsage().arrayBuffers
  releaseMemory(chunk)
  assert.equal(chunk.length, 0)
  assert.ok(before - process.memoryUsage().arrayBuffers >= 100_000)
})

test('a chunk that shares its memory stays as it is, and so do the others', () => {
  const whole = Buffer.alloc(100_000, 'x')
  for (const part of [whole.subarray(1), whole.subarray(0, -1), Buffer.from('of the pool')]) {
    const copy = Buffer.from(part)
    releaseMemory(part)
    assert.deepEqual(part, copy)
  }
})
