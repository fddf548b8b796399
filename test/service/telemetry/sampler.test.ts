import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { test } from 'node:test'
import { seededRandom } from '../../../src/kit/random.ts'
import type { Trace } from '../../../src/kit/trace.ts'
import { Sampler, type Sampling } from '../../../src/service/telemetry/sampler.ts'

const clock = { now: () => 0, setTimeout: () => undefined, clearTimeout: () => {} }
const asked = (headers: readonly string[] = []): IncomingMessage => ({ rawHeaders: headers }) as IncomingMessage
const newSampler = (sampling: Sampling, seed = 1): Sampler =>
  new Sampler(sampling, { clock, random: seededRandom(seed) })

const traceId = '0af7651916cd43dd8448eb211c80319c'
const from = (flags: string, ...more: string[]): IncomingMessage =>
  asked(['Host', 'a', 'Traceparent', `00-${traceId}-b7ad6b7169203331-${flags}`, ...more])

/** The last 56 bits of a trace id as a share of all that they can be: W3C's random part. */
const randomness = ({ id }: Trace): number => Number.parseInt(id.slice(18), 16) / 2 ** 56

const requests = 20_000

for (const ratio of [0, 0.01, 0.1, 0.5, 1]) {
  test(`of requests without a trace the share of ${ratio} is traced`, () => {
    const sampler = newSampler({ parentBased: true, ratio })
    const traced = Array.from({ length: requests }, () => sampler.sample(asked(), 0)).filter((trace) => trace).length
    const deviation = Math.sqrt(requests * ratio * (1 - ratio))
    assert.ok(Math.abs(traced - ratio * requests) <= 4 * deviation, `${traced} of ${requests}`)
  })

  test(`who judges by the id of a trace comes to the same at a ratio of ${ratio}`, () => {
    const sampler = newSampler({ parentBased: true, ratio })
    for (let i = 0; i < 2_000; i++) {
      const sampled = sampler.sample(asked(), 0)
      if (sampled !== undefined) assert.ok(randomness(sampled) >= 1 - ratio - 1e-15, sampled.id)
      else assert.ok(randomness(sampler.unsampled(asked(), 0)) <= 1 - ratio)
    }
  })
}

test('a request that belongs to a trace is traced where its caller traces it, whatever the ratio', () => {
  for (const ratio of [0, 1]) {
    const sampler = newSampler({ parentBased: true, ratio })
    assert.equal(sampler.sample(from('01'), 0)?.id, traceId)
    assert.equal(sampler.sample(from('00'), 0), undefined)
  }
})

test('a sampler that is not based on parents joins their traces and decides for itself', () => {
  assert.equal(newSampler({ parentBased: false, ratio: 1 }).sample(from('00'), 0)?.id, traceId)
  assert.equal(newSampler({ parentBased: false, ratio: 0 }).sample(from('01'), 0), undefined)
})

test('what is told after all joins the trace of its caller and passes its state on', () => {
  const trace = newSampler({ parentBased: true, ratio: 0 }).unsampled(from('00', 'tracestate', 'a=1'), 3)
  assert.deepEqual([trace.id, trace.sampled, trace.parent?.state, trace.root.startMs], [traceId, false, 'a=1', 3])
})

test('a parent that cannot be read counts as none', () => {
  const trace = newSampler({ parentBased: true, ratio: 1 }).sample(asked(['traceparent', 'canary']), 0)
  assert.notEqual(trace, undefined)
  assert.equal(trace!.parent, undefined)
})

test('ids have the form of the specification and none comes twice', () => {
  const sampler = newSampler({ parentBased: true, ratio: 1 })
  const traces = Array.from({ length: 2_000 }, () => sampler.sample(asked(), 0)!)
  assert.ok(traces.every(({ id, root }) => /^[\da-f]{32}$/.test(id) && /^[\da-f]{16}$/.test(root.id)))
  assert.equal(new Set(traces.map(({ id }) => id)).size, traces.length)
  assert.equal(new Set(traces.map(({ root }) => root.id)).size, traces.length)
})
