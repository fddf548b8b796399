import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '../../src/kit/clock.ts'

const wokenAt = (atMs: number): Promise<number> =>
  new Promise((resolve) => systemClock.wakeAt(atMs, () => resolve(systemClock.now())))

test('the system clock never wakes early, and wakes from the event loop even for a time that is over', async () => {
  for (const waitMs of [-5, 0, 0.3, 1, 1.9, 2, 2.1, 7.5]) {
    const atMs = systemClock.now() + waitMs
    const woken = wokenAt(atMs)
    const returnedMs = systemClock.now()
    const wokenMs = await woken
    assert.ok(wokenMs >= atMs, `woken ${atMs - wokenMs} ms early after ${waitMs} ms`)
    assert.ok(wokenMs >= returnedMs)
  }
})
