import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { test } from 'node:test'
import { Failure } from '../../../src/kit/errors.ts'
import { toMicrosecond } from '../../../src/kit/units.ts'
import { Faults, type FaultsOptions } from '../../../src/service/faults/faults.ts'
import { parsePlan } from '../../../src/service/faults/plan.ts'
import type { ServiceContext } from '../../../src/service/http/lean-koa.ts'
import { VirtualClock } from '../work/virtual-clock.ts'

type Bench = { readonly clock: VirtualClock; readonly faults: Faults; set(plan: Record<string, unknown>): void }

const bench = (options: Partial<FaultsOptions> = {}): Bench => {
  const clock = new VirtualClock()
  const faults = new Faults({ clock, ...options })
  return { clock, faults, set: (plan) => faults.set(parsePlan(plan)) }
}

type Met = { afterMs: number | undefined; outcome: string | undefined }

/** A request that does nothing itself, and when and how it ended. */
const send = ({ clock, faults }: Bench, socket = new EventEmitter()): Met => {
  const met: Met = { afterMs: undefined, outcome: undefined }
  const startMs = clock.now()
  const end = (outcome: string): void =>
    void Object.assign(met, { afterMs: toMicrosecond(clock.now() - startMs), outcome })
  const ctx = { req: { socket, rawHeaders: [] }, app: {}, cancellation: undefined } as unknown as ServiceContext
  const passed = Promise.try(() => faults.middleware(ctx, () => Promise.resolve()) as Promise<void>)
  passed.then(
    () => end('ok'),
    (error: unknown) => end(error instanceof Failure ? error.code : String(error)),
  )
  return met
}

/** What so many requests meet that come together. */
const sendAll = async (on: Bench, count: number): Promise<Met[]> => {
  const all = Array.from({ length: count }, () => send(on))
  await on.clock.advance(120_000)
  return all
}

const exponential = { distribution: 'exponential', meanMs: 50 }

test('without faults a request goes on within the same turn, and nothing is counted', () => {
  const { faults } = bench()
  const passed = Promise.resolve()
  assert.equal(
    faults.middleware({} as ServiceContext, () => passed),
    passed,
  )
  assert.equal(faults.report().counts.requests, 0)
})

test('latency is added before the work, and its sum is what was counted', async () => {
  const on = bench()
  on.set({ latency: exponential })
  const met = await sendAll(on, 500)
  const { counts } = on.faults.report()
  const sumMs = met.reduce((sum, { afterMs }) => sum + afterMs!, 0)
  assert.ok(met.every(({ outcome }) => outcome === 'ok'))
  assert.equal(counts.requests, 500)
  assert.equal(counts.delayedRequests, 500)
  assert.ok(Math.abs(counts.addedLatencyMs - sumMs) < 0.01)
  assert.ok(Math.abs(sumMs / 500 - 50) < 8, String(sumMs / 500))
})

test('the share of errors fails as injected-fault after the latency, not before', async () => {
  const on = bench()
  on.set({ latency: { distribution: 'constant', meanMs: 10 }, errors: { share: 0.25 } })
  const met = await sendAll(on, 2_000)
  const failed = met.filter(({ outcome }) => outcome === 'injected-fault')
  assert.ok(met.every(({ afterMs }) => afterMs === 10))
  assert.equal(on.faults.report().counts.failedRequests, failed.length)
  assert.ok(Math.abs(failed.length / 2_000 - 0.25) < 0.03, String(failed.length))
})

test('setting a plan again repeats what requests meet; another seed or worker does not', async () => {
  const plan = { seed: 9, latency: exponential, errors: { share: 0.5 } }
  const on = bench()
  on.set(plan)
  const first = await sendAll(on, 40)
  on.set(plan)
  assert.deepEqual(await sendAll(on, 40), first)
  on.set({ ...plan, seed: 10 })
  assert.notDeepEqual(await sendAll(on, 40), first)
  const second = bench({ worker: 2 })
  second.set(plan)
  assert.notDeepEqual(await sendAll(second, 40), first)
})

test('which latencies are drawn does not depend on whether there are errors, too', async () => {
  const on = bench()
  on.set({ latency: exponential })
  const alone = (await sendAll(on, 40)).map(({ afterMs }) => afterMs)
  on.set({ latency: exponential, errors: { share: 0.5 } })
  assert.deepEqual(
    (await sendAll(on, 40)).map(({ afterMs }) => afterMs),
    alone,
  )
})

test('slow start: added latency falls evenly to nothing', async () => {
  const on = bench()
  on.set({ slowStart: { forMs: 10_000, latencyMs: 400 } })
  const seen: (number | undefined)[] = []
  for (let atMs = 0; atMs <= 12_500; atMs += 2_500) {
    const met = send(on)
    await on.clock.advance(2_500)
    seen.push(met.afterMs)
  }
  assert.deepEqual(seen, [400, 300, 200, 100, 0, 0])
  assert.equal(on.faults.report().counts.delayedRequests, 4)
})

test('a client that leaves while it is delayed ends the delay', async () => {
  const on = bench()
  on.set({ latency: { distribution: 'constant', meanMs: 5_000 } })
  const socket = new EventEmitter()
  const met = send(on, socket)
  await on.clock.advance(100)
  socket.emit('close')
  await on.clock.advance(0)
  assert.deepEqual(met, { afterMs: 100, outcome: 'client-closed-request' })
  assert.equal(on.clock.pending, 0)
})

test('faults end by themselves after forMs, and their counts stay', async () => {
  const on = bench()
  on.set({ errors: { share: 1 }, forMs: 1_000 })
  await on.clock.advance(999)
  assert.deepEqual(on.faults.report(), {
    active: true,
    faults: { seed: 1, errors: { share: 1 }, forMs: 1_000 },
    activeForMs: 999,
    endsInMs: 1,
    counts: { ...on.faults.report().counts, requests: 0 },
  })
  const last = send(on)
  await on.clock.advance(1)
  const after = send(on)
  await on.clock.advance(0)
  assert.deepEqual([last.outcome, after.outcome], ['injected-fault', 'ok'])
  const { active, faults, endsInMs, counts } = on.faults.report()
  assert.deepEqual([active, faults, endsInMs, counts.requests], [false, { seed: 1 }, null, 1])
})

test('a plan that is replaced does not end the next one at its own time', async () => {
  const on = bench()
  on.set({ errors: { share: 1 }, forMs: 1_000 })
  await on.clock.advance(500)
  on.set({ errors: { share: 1 } })
  await on.clock.advance(10_000)
  assert.equal(on.faults.report().active, true)
})

test('readiness is off while a plan says so, and who asks is told of both changes', async () => {
  const on = bench()
  const told: boolean[] = []
  on.faults.onChange = () => told.push(on.faults.unready)
  on.set({ ready: false, forMs: 1_000 })
  await on.clock.advance(1_000)
  assert.deepEqual(told, [true, false])
})

test('stalls come everyMs from start to start, and stop with the faults', async () => {
  const stalls: number[] = []
  const on = bench({ holdUp: (ms) => stalls.push(ms) })
  on.set({ stalls: { everyMs: 1_000, forMs: 100 } })
  await on.clock.advance(999)
  assert.deepEqual(stalls, [])
  await on.clock.advance(4_001)
  assert.deepEqual(stalls, [100, 100, 100, 100, 100])
  assert.equal(on.faults.report().counts.stalls, 5)
  on.faults.end()
  await on.clock.advance(10_000)
  assert.equal(stalls.length, 5)
})

test('a leak grows at its rate up to its limit, and is free when the faults end', async () => {
  const on = bench()
  on.set({ leak: { mbPerSecond: 4, upToMb: 6 } })
  const held: number[] = []
  for (let s = 0; s < 3; s++) {
    await on.clock.advance(1_000)
    held.push(on.faults.report().counts.leakedMb)
  }
  assert.deepEqual(held, [4, 6, 6])
  const before = process.memoryUsage().arrayBuffers
  on.faults.end()
  await on.clock.advance(0)
  assert.equal(on.faults.report().counts.leakedMb, 0)
  assert.ok(before - process.memoryUsage().arrayBuffers >= 6 * 2 ** 20)
})

test('the end of all faults leaves no timer', async () => {
  const on = bench({ holdUp: () => {} })
  on.set({
    slowStart: { forMs: 1_000, latencyMs: 5 },
    leak: { mbPerSecond: 1, upToMb: 1_000 },
    stalls: { everyMs: 100, forMs: 10 },
    forMs: 60_000,
  })
  await on.clock.advance(5_000)
  on.faults.end()
  await on.clock.advance(0)
  assert.equal(on.clock.pending, 0)
})
