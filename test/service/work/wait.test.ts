import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { test } from 'node:test'
import fc from 'fast-check'
import { wait } from '../../../src/service/work/wait.ts'
import { VirtualClock } from './virtual-clock.ts'

const reason = new Error('the client went away')

const isDone = (promise: Promise<unknown>): (() => boolean) => {
  let done = false
  void promise.then(() => (done = true))
  return () => done
}

test('a wait ends after exactly the time asked for, with and without a signal', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 60_000 }), fc.boolean(), async (ms, withSignal) => {
      const clock = new VirtualClock()
      const done = isDone(wait(ms, withSignal ? new AbortController().signal : undefined, clock))
      await clock.advance(ms - 1)
      assert.equal(done(), false)
      await clock.advance(1)
      assert.equal(done(), true)
    }),
    { seed: 1, numRuns: 50 },
  )
})

test('a wait of 0 ms takes no timer', async () => {
  const clock = new VirtualClock()
  await wait(0, undefined, clock)
  await wait(0, new AbortController().signal, clock)
  assert.equal(clock.pending, 0)
})

test('an aborted wait rejects with the reason and leaves neither a timer nor a listener', async () => {
  const clock = new VirtualClock()
  const client = new AbortController()
  const waiting = wait(1_000, client.signal, clock)
  assert.equal(clock.pending, 1)
  client.abort(reason)
  await assert.rejects(waiting, reason)
  assert.equal(clock.pending, 0)
  assert.deepEqual(getEventListeners(client.signal, 'abort'), [])
})

test('a wait that ended leaves no listener on its signal', async () => {
  const clock = new VirtualClock()
  const client = new AbortController()
  const waiting = wait(10, client.signal, clock)
  await clock.advance(10)
  await waiting
  assert.deepEqual(getEventListeners(client.signal, 'abort'), [])
})

test('a wait whose signal is aborted already starts no timer', async () => {
  const clock = new VirtualClock()
  for (const ms of [0, 1_000]) await assert.rejects(wait(ms, AbortSignal.abort(reason), clock), reason)
  assert.equal(clock.pending, 0)
})
