import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure, InputError } from '../../../src/kit/errors.ts'
import { Faults } from '../../../src/service/faults/faults.ts'
import { parsePlan } from '../../../src/service/faults/plan.ts'
import { type FaultNews, type FaultOrder, obeyParent } from '../../../src/service/faults/worker.ts'
import { WorkersFaults } from '../../../src/service/faults/workers.ts'
import { VirtualClock } from '../work/virtual-clock.ts'

/** A worker without a process: messages go through the event loop, in order, as through the real channel. */
type Worker = {
  readonly faults: Faults
  hear: (order: FaultOrder) => void
  silent: boolean
  readonly up: Promise<void>
}

const start = (count: number) => {
  const clock = new VirtualClock()
  const workers = new Map<number, Worker>()
  const crashes: string[] = []
  const parent = new WorkersFaults({
    count,
    clock,
    send: (number, order) => setImmediate(() => workers.get(number)?.hear(order)),
    kill: (number) => crashes.push(`kill ${number}`),
  })
  const begin = (number: number): Worker => {
    const faults = new Faults({ clock, worker: number })
    const worker: Worker = { faults, hear: () => {}, silent: false, up: Promise.resolve() }
    const tell = (news: FaultNews): void => {
      if (!worker.silent) setImmediate(() => parent.heard(number, news))
    }
    const listen = (hear: (order: FaultOrder) => void): void => void (worker.hear = hear)
    const up = obeyParent(faults, { tell, listen }, (how) => crashes.push(`${how} ${number}`))
    workers.set(number, Object.assign(worker, { up }))
    return worker
  }
  const end = (number: number): void => {
    workers.delete(number)
    parent.gone(number)
  }
  return { clock, parent, crashes, begin, end }
}

const errors = (share: number, more: object = {}) => parsePlan({ errors: { share }, ...more })

test('faults are in effect in every worker when they have been set', async () => {
  const { parent, begin } = start(2)
  const workers = [begin(1), begin(2)]
  await Promise.all(workers.map(({ up }) => up))
  await parent.set(errors(0.5))
  assert.deepEqual(
    workers.map(({ faults }) => faults.report().faults),
    [errors(0.5), errors(0.5)],
  )
})

test('a worker that comes up later has the faults before it starts, for the rest of their time', async () => {
  const { clock, parent, begin } = start(1)
  await parent.set(errors(0.5, { forMs: 1_000 }))
  await clock.advance(400)
  const late = begin(1)
  await late.up
  assert.deepEqual(late.faults.report().faults, errors(0.5, { forMs: 600 }))
  assert.equal((await parent.report()).endsInMs, 600)
})

test('a worker that comes up when their time is over has none', async () => {
  const { clock, parent, begin } = start(1)
  await parent.set(errors(0.5, { forMs: 1_000 }))
  await clock.advance(1_000)
  const late = begin(1)
  await late.up
  assert.equal(late.faults.report().active, false)
  assert.equal((await parent.report()).active, false)
})

test('a report adds the counts of the workers, and shows each', async () => {
  const { clock, parent, begin } = start(2)
  const workers = [begin(1), begin(2)]
  await Promise.all(workers.map(({ up }) => up))
  await parent.set(parsePlan({ leak: { mbPerSecond: 1, upToMb: 3 } }))
  await clock.advance(10_000)
  const { counts, workers: each } = await parent.report()
  assert.equal(counts.leakedMb, 6)
  assert.deepEqual(
    each?.map(({ worker, leakedMb, silent }) => ({ worker, leakedMb, silent })),
    [
      { worker: 1, leakedMb: 3, silent: false },
      { worker: 2, leakedMb: 3, silent: false },
    ],
  )
  await parent.set(parsePlan({}))
})

test('a worker that does not answer holds a report up for a second, and its last counts stand', async () => {
  const { clock, parent, begin } = start(2)
  const workers = [begin(1), begin(2)]
  await Promise.all(workers.map(({ up }) => up))
  await parent.set(parsePlan({ leak: { mbPerSecond: 1, upToMb: 1 } }))
  await clock.advance(1_000)
  assert.equal((await parent.report()).counts.leakedMb, 2)
  workers[1]!.silent = true
  const report = parent.report()
  // The other one's answer takes a turn there and one back.
  await clock.advance(0)
  await clock.advance(0)
  await clock.advance(1_000)
  const { counts, workers: each } = await report
  assert.deepEqual(
    each?.map(({ silent }) => silent),
    [false, true],
  )
  assert.equal(counts.leakedMb, 2)
  await clock.advance(0)
  for (const { faults } of workers) faults.end()
})

test('a worker that goes while it is asked is not waited for', async () => {
  const { clock, parent, begin, end } = start(1)
  const worker = begin(1)
  await worker.up
  worker.silent = true
  const report = parent.report()
  end(1)
  assert.equal((await report).workers?.[0]?.silent, true)
  assert.equal(clock.pending, 0)
})

test('an answer that comes late is not taken for the next one', async () => {
  const { clock, parent, begin } = start(1)
  const worker = begin(1)
  await worker.up
  await clock.advance(0)
  const obey = worker.hear
  const kept: FaultOrder[] = []
  worker.hear = (order) => kept.push(order)
  const setting = parent.set(errors(0.5))
  await clock.advance(1_000)
  await setting
  let told = false
  const report = parent.report().finally(() => (told = true))
  await clock.advance(0)
  obey(kept[0]!)
  await clock.advance(0)
  assert.equal(told, false)
  obey(kept[1]!)
  assert.equal((await report).workers?.[0]?.silent, false)
})

test('kill is done by the parent, an exception by the worker, by default in the first that runs', async () => {
  const { clock, parent, crashes, begin } = start(2)
  await begin(2).up
  await clock.advance(0)
  parent.crashing('kill').crash()
  const { worker, crash } = parent.crashing('exception')
  crash()
  await clock.advance(0)
  assert.equal(worker, 2)
  assert.deepEqual(crashes, ['kill 2', 'exception 2'])
})

const conflict = (error: unknown): boolean => error instanceof Failure && error.code === 'conflict'

test('a worker that does not exist, or does not run, cannot crash', () => {
  const { parent } = start(2)
  assert.throws(() => parent.crashing('kill', 3), InputError)
  assert.throws(() => parent.crashing('kill', 1), conflict)
  assert.throws(() => parent.crashing('kill'), conflict)
})
