import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { holdMemory } from '../../../src/service/work/memory.ts'
import { VirtualClock } from './virtual-clock.ts'

const askedMib = 96
const reason = new Error('the client went away')

const residentMib = (): number => process.memoryUsage.rss() / 1024 / 1024

/** Memory is held once the timer of the hold runs. */
const untilHeld = async (clock: VirtualClock): Promise<void> => {
  while (clock.pending === 0) await setImmediate()
}

const assertNear = (actualMib: number, expectedMib: number): void =>
  assert.ok(Math.abs(actualMib - expectedMib) < askedMib / 4, `${actualMib} MiB instead of about ${expectedMib} MiB`)

test('held memory is resident, and given back when its time is over', async () => {
  const clock = new VirtualClock()
  const beforeMib = residentMib()
  const holding = holdMemory(askedMib, 500, undefined, clock)
  await untilHeld(clock)
  await clock.advance(499)
  assertNear(residentMib() - beforeMib, askedMib)
  await clock.advance(1)
  await holding
  assertNear(residentMib() - beforeMib, 0)
})

test('an abort gives held memory back at once', async () => {
  const clock = new VirtualClock()
  const client = new AbortController()
  const beforeMib = residentMib()
  const holding = holdMemory(askedMib, 500, client.signal, clock)
  await untilHeld(clock)
  client.abort(reason)
  await assert.rejects(holding, reason)
  assertNear(residentMib() - beforeMib, 0)
  assert.equal(clock.pending, 0)
})

test('an abort while memory is still being taken stops that', async () => {
  const clock = new VirtualClock()
  const client = new AbortController()
  const beforeMib = residentMib()
  const rejected = assert.rejects(holdMemory(100_000, 500, client.signal, clock), reason)
  await setImmediate()
  client.abort(reason)
  await rejected
  assertNear(residentMib() - beforeMib, 0)
  assert.equal(clock.pending, 0)
})

test('memory of less than a chunk, or that is no multiple of one, is held too', async () => {
  const clock = new VirtualClock()
  const holding = Promise.all([1, 5, 0].map((mib) => holdMemory(mib, 10, undefined, clock)))
  while (clock.pending < 3) await setImmediate()
  await clock.advance(10)
  await holding
})
