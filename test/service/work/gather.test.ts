import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { gather } from '../../../src/service/work/gather.ts'
import { VirtualClock } from './virtual-clock.ts'

const times = fc.array(fc.integer({ min: 0, max: 10_000 }), { maxLength: 20 })

test('gathering takes the longest time, not the sum, and each part its own', async () => {
  await fc.assert(
    fc.asyncProperty(times, async (asked) => {
      const clock = new VirtualClock()
      const gathering = gather(asked, undefined, clock)
      await clock.advance(20_000)
      assert.deepEqual(await gathering, {
        tookMs: Math.max(0, ...asked),
        parts: asked.map((ms) => ({ ms, tookMs: ms })),
      })
    }),
    { seed: 2, numRuns: 50 },
  )
})

test('an aborted gathering rejects with the reason and leaves no timer', async () => {
  const clock = new VirtualClock()
  const client = new AbortController()
  const reason = new Error('the client went away')
  const gathering = gather([3_000, 10, 2_000], client.signal, clock)
  const rejected = assert.rejects(gathering, reason)
  await clock.advance(100)
  client.abort(reason)
  await rejected
  assert.equal(clock.pending, 0)
})

test('many parts on one signal give no warning about leaking listeners', async (t) => {
  const warnings: Error[] = []
  const collect = (warning: Error): void => void warnings.push(warning)
  process.on('warning', collect)
  t.after(() => process.off('warning', collect))
  const clock = new VirtualClock()
  const gathering = gather(Array<number>(50).fill(10), new AbortController().signal, clock)
  await clock.advance(10)
  await gathering
  assert.deepEqual(warnings, [])
})
