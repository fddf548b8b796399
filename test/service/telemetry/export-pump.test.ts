import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { mostSpans, Trace } from '../../../src/kit/trace.ts'
import { mostExcess, TracePump } from '../../../src/service/telemetry/export-pump.ts'
import { TraceQueue } from '../../../src/service/telemetry/trace-queue.ts'

/** Time that stands still but for {@link advance}; a slice may cost time, too. */
const virtualClock = () => {
  let nowMs = 0
  let due: { atMs: number; call: () => void }[] = []
  const advance = (ms: number): void => {
    const untilMs = nowMs + ms
    for (;;) {
      const [next] = due.toSorted((a, b) => a.atMs - b.atMs)
      if (next === undefined || next.atMs > untilMs) break
      due = due.filter((timer) => timer !== next)
      nowMs = Math.max(nowMs, next.atMs)
      next.call()
    }
    nowMs = Math.max(nowMs, untilMs)
  }
  return {
    now: () => nowMs,
    setTimeout: (call: () => void, ms: number) => due.push({ atMs: nowMs + ms, call }),
    clearTimeout: () => {},
    advance,
    /** Work that takes time. */
    spend: (ms: number) => (nowMs += ms),
    timers: () => due.length,
  }
}

const traceOf = (spans: number): Trace => {
  const trace = new Trace({
    clock: { now: () => 0, setTimeout: () => undefined, clearTimeout: () => {} },
    name: '',
    kind: 'server',
    startMs: 0,
    sampled: true,
    newTraceId: () => '',
    newSpanId: () => '',
  })
  for (let i = 1; i < spans; i++) trace.root.child('').end()
  trace.root.end()
  return trace
}

const spansOf = (traces: readonly Trace[]): number => traces.reduce((sum, { spans }) => sum + 1 + spans.length, 0)

/** A pump and what it has handed over. */
const setUp = (capacity: number, costMs = 0) => {
  const clock = virtualClock()
  const queue = new TraceQueue()
  const slices: number[] = []
  const handOver = (traces: readonly Trace[]): void => {
    slices.push(spansOf(traces))
    clock.spend(costMs)
  }
  const pump = new TracePump({ queue, clock, capacity, handOver })
  return { clock, queue, slices, pump, handed: () => slices.reduce((sum, spans) => sum + spans, 0) }
}

test('no more is handed over than there is room for, and all of it in the end, however much is settled when', () => {
  const steps = fc.array(
    fc.oneof(
      fc.record({ add: fc.integer({ min: 1, max: mostSpans }) }),
      fc.record({ settle: fc.integer({ min: 1, max: 600 }) }),
      fc.record({ ms: fc.integer({ min: 0, max: 100 }) }),
    ),
    { maxLength: 200 },
  )
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 600 }), steps, (capacity, run) => {
      const { clock, queue, pump, handed } = setUp(capacity)
      let [added, settled] = [0, 0]
      const settle = (spans: number): void => {
        settled += spans
        if (spans > 0) pump.settle(spans)
      }
      for (const step of run) {
        if ('add' in step) {
          queue.add(traceOf(step.add))
          added += step.add
        } else if ('settle' in step) settle(Math.min(step.settle, handed() - settled))
        else clock.advance(step.ms)
        assert.ok(handed() - settled <= capacity + mostExcess)
        assert.equal(pump.unsettled, handed() - settled)
      }
      for (let i = 0; i < 1_000 && settled < added - queue.dropped; i++) {
        settle(handed() - settled)
        clock.advance(100)
      }
      settle(handed() - settled)
      assert.equal(settled, added - queue.dropped)
      assert.equal(queue.spans, 0)
    }),
  )
})

test('what came before there was a pump is handed over, too', () => {
  const clock = virtualClock()
  const queue = new TraceQueue()
  queue.add(traceOf(3))
  let handed = 0
  const pump = new TracePump({ queue, clock, capacity: 100, handOver: (traces) => (handed += spansOf(traces)) })
  clock.advance(0)
  assert.deepEqual([handed, pump.unsettled], [3, 3])
})

test('a slice ends when its time is over, and the next comes after whatever else waited', () => {
  const { clock, queue, handed, slices } = setUp(10_000, 0.6)
  for (let i = 0; i < 1_000; i++) queue.add(traceOf(1))
  let most = 0
  for (let before = handed(); clock.timers() > 0; before = handed()) {
    const startMs = clock.now()
    clock.advance(50)
    most = Math.max(most, handed() - before)
    assert.ok(clock.now() - startMs < 60)
  }
  assert.equal(handed(), 1_000)
  assert.ok(Math.max(...slices) <= 64)
  assert.ok(most < 1_000)
})

test('with nothing to hand over no timer runs', () => {
  const { clock, queue } = setUp(100)
  queue.add(traceOf(1))
  clock.advance(1_000)
  assert.equal(clock.timers(), 0)
})

test('a pump that is stopped hands nothing over any more', () => {
  const { clock, queue, pump, handed } = setUp(100)
  queue.add(traceOf(1))
  pump.stop()
  pump.push()
  clock.advance(1_000)
  assert.equal(handed(), 0)
  assert.equal(queue.spans, 1)
})

test('settled() waits for the last span that was handed over', async () => {
  const { queue, pump } = setUp(100)
  await pump.settled()
  queue.add(traceOf(5))
  pump.push()
  let done = false
  const settled = pump.settled().then(() => (done = true))
  pump.settle(4)
  await Promise.resolve()
  assert.equal(done, false)
  pump.settle(1)
  await settled
})
