import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GcMetrics } from '../../../src/service/telemetry/runtime-gc.ts'
import { LoopMetrics } from '../../../src/service/telemetry/runtime-loop.ts'
import { VirtualClock } from '../work/virtual-clock.ts'

const start = () => {
  const clock = new VirtualClock()
  let lateMs = 0
  const { setTimeout, clearTimeout } = clock
  const time = { idle: 0, active: 0 }
  const late = { now: () => clock.now() + lateMs, setTimeout, clearTimeout }
  const loop = new LoopMetrics({ worker: 3, clock: late, loopTime: () => ({ ...time }) })
  loop.start()
  /** The next timer that is due finds that so much time has gone by meanwhile. */
  const block = async (ms: number): Promise<void> => {
    lateMs += ms
    await clock.advance(20)
  }
  const delays = (): Record<string, number> =>
    Object.fromEntries(
      loop
        .collect()
        .plimsoll_eventloop_delay_seconds!.map(({ metricName, labels, value }) => [
          labels['le'] ?? metricName!.split('_').at(-1)!,
          value,
        ]),
    )
  return { clock, time, loop, block, delays }
}

test('a loop that comes to everything in time has no delays, looked at 50 times a second', async () => {
  const { clock, delays } = start()
  await clock.advance(1_000)
  const { count, sum, 0.001: within } = delays()
  assert.deepEqual([count, within, sum], [50, 50, 0])
})

test('who blocks the loop delays all that is due meanwhile, not only the first', async () => {
  const { clock, block, delays } = start()
  await block(200)
  // 200, 180, ... 20, 0 ms.
  const { count, sum, 0.025: short, 0.1: middle } = delays()
  assert.deepEqual([count, short, middle], [11, 2, 6])
  assert.ok(Math.abs(sum! - 1.1) < 1e-9)
  await clock.advance(1_000)
  assert.equal(delays()['count'], 61)
})

test('a delay of less than a tick counts once', async () => {
  const { block, delays } = start()
  await block(7)
  const { count, sum } = delays()
  assert.equal(count, 1)
  assert.ok(Math.abs(sum! - 0.007) < 1e-9)
})

test('it watches no more once it is disposed of', async () => {
  const { clock, loop } = start()
  assert.equal(clock.pending, 1)
  loop[Symbol.dispose]()
  assert.equal(clock.pending, 0)
})

test('utilisation is about the last five seconds, and totals about all time', async () => {
  const { clock, time, loop } = start()
  const pass = async (seconds: number, share: number): Promise<void> => {
    for (let i = 0; i < seconds * 50; i++) {
      time.active += 20 * share
      time.idle += 20 * (1 - share)
      await clock.advance(20)
    }
  }
  const utilization = (): number => {
    const [sample] = loop.collect().nodejs_eventloop_utilization_ratio!
    assert.deepEqual(sample!.labels, { worker: 3 })
    return Math.round(sample!.value * 100) / 100
  }
  assert.equal(utilization(), 0)
  await pass(10, 1)
  assert.equal(utilization(), 1)
  await pass(2.5, 0)
  assert.equal(utilization(), 0.55)
  await pass(7, 0.25)
  assert.equal(utilization(), 0.25)
  const totals = loop.collect().nodejs_eventloop_time_seconds_total!
  assert.deepEqual(
    totals.map(({ labels, value }) => [labels['nodejs_eventloop_state'], Math.round(value * 1_000)]),
    [
      ['idle', 7_750],
      ['active', 11_750],
    ],
  )
})

test('garbage collections are told apart by type, and those there were none of are 0', () => {
  const gc = new GcMetrics(1)
  const counts = (): Record<string, number> =>
    Object.fromEntries(
      gc
        .collect()
        .v8js_gc_duration_seconds!.filter(({ metricName }) => metricName!.endsWith('_count'))
        .map(({ labels, value }) => [String(labels['v8js_gc_type']), value]),
    )
  assert.deepEqual(counts(), { minor: 0, major: 0, incremental: 0, weakcb: 0 })
  for (const kind of [1, 2, 4, 8, 8]) gc.observe(kind, 2)
  assert.deepEqual(counts(), { minor: 2, major: 1, incremental: 2, weakcb: 0 })
})
