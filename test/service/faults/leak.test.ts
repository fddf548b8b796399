import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startLeak } from '../../../src/service/faults/leak.ts'
import { VirtualClock } from '../work/virtual-clock.ts'

test('a system that has no more memory ends the growth, not the process', async () => {
  const clock = new VirtualClock()
  let heldMb = 0
  const hold = (mb: number): Promise<void> => {
    if (heldMb + mb > 10) return Promise.reject(new RangeError('Array buffer allocation failed'))
    heldMb += mb
    return new Promise(() => {})
  }
  const leak = startLeak({ mbPerSecond: 5, upToMb: 100 }, clock, hold)
  await clock.advance(60_000)
  assert.equal(leak.mb, 10)
  assert.equal(clock.pending, 0)
})
