import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startStalls } from '../../../src/service/faults/stalls.ts'

test('a stall that comes late is followed by the next everyMs after it began, and moves the others', () => {
  const beganMs: number[] = []
  const timers: { readonly stall: () => void; readonly dueMs: number }[] = []
  let nowMs = 0
  const clock = {
    now: () => nowMs,
    setTimeout: (stall: () => void, ms: number) => timers.push({ stall, dueMs: nowMs + ms }),
    clearTimeout: () => {},
  }
  startStalls({ everyMs: 100, forMs: 20 }, clock, (ms) => {
    beganMs.push(nowMs)
    nowMs += ms
  })
  for (const lateMs of [0, 3, 250, 0, 0]) {
    const { stall, dueMs } = timers.shift()!
    nowMs = dueMs + lateMs
    stall()
  }
  // 3 ms late is made up for; 250 ms are not.
  assert.deepEqual(beganMs, [100, 203, 550, 650, 750])
})
