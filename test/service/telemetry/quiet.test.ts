import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { whenQuiet } from '../../../src/service/telemetry/quiet.ts'

/** Runs until the wait ends, on a clock that moves by each timer; returns how long it took on that clock. */
const waited = async (busy: (nowMs: number) => boolean, options: { urgentAtMs?: number; abortAtMs?: number } = {}) => {
  const { urgentAtMs = Infinity, abortAtMs = Infinity } = options
  let [nowMs, active, idle] = [0, 0, 0]
  const ending = new AbortController()
  const pass = async (ms: number, call: () => void): Promise<void> => {
    await turn()
    if (busy(nowMs)) active += ms
    else idle += ms
    nowMs += ms
    if (nowMs >= abortAtMs) ending.abort()
    call()
  }
  await whenQuiet({
    clock: { now: () => nowMs, setTimeout: (call, ms) => void pass(ms, call), clearTimeout: () => {} },
    signal: ending.signal,
    urgent: () => nowMs >= urgentAtMs,
    loopTimes: () => ({ active, idle }),
  })
  return nowMs
}

test('a service with nothing to do is quiet at once', async () => {
  assert.equal(await waited(() => false), 50)
})

test('a busy one is left alone until it is quiet, for a second at most', async () => {
  assert.equal(await waited((nowMs) => nowMs < 300), 350)
  assert.equal(await waited(() => true), 1_000)
})

test('what is urgent, or at the end, is not waited for', async () => {
  assert.equal(await waited(() => true, { urgentAtMs: 200 }), 200)
  assert.equal(await waited(() => true, { abortAtMs: 150 }), 150)
})
