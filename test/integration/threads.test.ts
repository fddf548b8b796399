import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test, type TestContext } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import type { Worker } from 'node:worker_threads'
import { Failure } from '../../src/kit/errors.ts'
import { processClock } from '../../src/kit/timers.ts'
import { createThreads, type Threads, type ThreadsOptions } from '../../src/service/work/threads/pool.ts'
import { cancelOf, recordedTrace } from '../support/trace.ts'

const open = (t: TestContext, options: ThreadsOptions): Threads => {
  const threads = createThreads(options)
  t.after(() => threads.close({ timeoutMs: 0 }))
  return threads
}

const openWarm = async (t: TestContext, options: ThreadsOptions): Promise<Threads> => {
  const threads = open(t, options)
  await threads.warm()
  return threads
}

const time = async (work: () => Promise<unknown>): Promise<number> => {
  const start = performance.now()
  await work()
  return performance.now() - start
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!

const processCpuMs = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** Resolves once the condition holds; the test's own time limit ends a wait for one that never does. */
const until = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await setTimeout(1)
}

const isFailure =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof Failure && error.code === code

const reason = new Error('the client went away')
const limits = { timeout: 20_000 }

/** Collects the threads that are started from now on. */
const watchThreads = (t: TestContext): Worker[] => {
  const started: Worker[] = []
  const collect = (worker: Worker): void => void started.push(worker)
  process.on('worker', collect)
  t.after(() => process.off('worker', collect))
  return started
}

test(
  '20 ms asked for are 20 ms of CPU time within 10 %, by its own clock and by that of the process',
  limits,
  async (t) => {
    const threads = await openWarm(t, { size: 1, queueLength: 0 })
    const said: number[] = []
    const used: number[] = []
    for (let i = 0; i < 15; i++) {
      const before = processCpuMs()
      const { cpuMs } = await threads.cpu(20)
      used.push(processCpuMs() - before)
      said.push(cpuMs)
    }
    assert.ok(Math.abs(median(said) - 20) < 0.2, `said ${median(said)} ms`)
    assert.ok(Math.abs(median(used) - 20) < 2, `used ${median(used)} ms`)
  },
)

test('burns that run at the same time are not charged for each other', limits, async (t) => {
  const threads = await openWarm(t, { size: 2, queueLength: 3 })
  const askedMs = [10, 20, 30, 20, 10]
  const burns = await Promise.all(askedMs.map((ms) => threads.cpu(ms)))
  // Above, a virtual machine that loses its core meanwhile is charged for that.
  for (const [i, { cpuMs }] of burns.entries()) {
    assert.ok(cpuMs > askedMs[i]! * 0.99 && cpuMs < askedMs[i]! * 1.5, `${cpuMs} ms instead of ${askedMs[i]} ms`)
  }
})

test('five blocking calls take the time of one with five threads, and of five with one', limits, async (t) => {
  const five = await openWarm(t, { size: 5, queueLength: 0 })
  const one = await openWarm(t, { size: 1, queueLength: 4 })
  const timeOfFive = (threads: Threads): Promise<number> =>
    time(() => Promise.all(Array.from({ length: 5 }, () => threads.sleep(200))))
  const parallelMs = await timeOfFive(five)
  const serialMs = await timeOfFive(one)
  assert.ok(parallelMs >= 195 && parallelMs < 400, `${parallelMs} ms with five threads`)
  assert.ok(serialMs >= 995 && serialMs < 1_500, `${serialMs} ms with one`)
})

test('blocking calls leave the event loop free', limits, async (t) => {
  const threads = await openWarm(t, { size: 1, queueLength: 0 })
  let ticks = 0
  const interval = setInterval(() => ticks++, 10)
  await threads.sleep(300)
  clearInterval(interval)
  assert.ok(ticks >= 15, `${ticks} ticks`)
})

test('a full queue refuses at once, saying when to come back, and starts nothing', limits, async (t) => {
  const threads = open(t, { size: 2, queueLength: 3 })
  const accepted = Array.from({ length: 5 }, () => threads.sleep(500))
  assert.deepEqual(threads.stats(), { size: 2, busy: 2, queued: 3, completed: 0 })
  const refusedMs = await time(async () => {
    await assert.rejects(threads.sleep(500), (error) => {
      assert.ok(isFailure('threads-busy')(error))
      assert.equal((error as Failure).retryAfterSeconds, 2)
      return true
    })
  })
  assert.ok(refusedMs < 50, `${refusedMs} ms`)
  await Promise.all(accepted)
  assert.deepEqual(threads.stats(), { size: 2, busy: 0, queued: 0, completed: 5 })
})

test('without a queue as many tasks are taken as threads are idle, from the first on', limits, async (t) => {
  const threads = open(t, { size: 2, queueLength: 0 })
  for (let round = 0; round < 2; round++) {
    const outcomes = await Promise.allSettled(Array.from({ length: 4 }, () => threads.sleep(50)))
    assert.deepEqual(
      outcomes.map((outcome) => outcome.status),
      ['fulfilled', 'fulfilled', 'rejected', 'rejected'],
    )
  }
})

for (const task of ['sleep', 'cpu'] as const) {
  test(`aborting a running ${task} frees its thread at once, and keeps the thread`, limits, async (t) => {
    const started = watchThreads(t)
    const threads = await openWarm(t, { size: 1, queueLength: 0 })
    const client = new AbortController()
    const rejected = assert.rejects(threads[task](10_000, client.signal), reason)
    await setTimeout(30)
    client.abort(reason)
    await rejected
    const freedMs = await time(() => until(() => threads.stats().busy === 0))
    assert.ok(freedMs < 100, `${freedMs} ms`)
    await threads.sleep(1)
    assert.equal(started.length, 1)
    assert.equal(threads.stats().completed, 1)
  })
}

test('aborting a waiting task takes it out of the queue', limits, async (t) => {
  const threads = await openWarm(t, { size: 1, queueLength: 1 })
  const running = threads.sleep(200)
  const client = new AbortController()
  const waiting = threads.sleep(10_000, client.signal)
  await assert.rejects(threads.sleep(1), isFailure('threads-busy'))
  client.abort(reason)
  await assert.rejects(waiting, reason)
  assert.equal(threads.stats().queued, 0)
  await Promise.all([running, threads.sleep(1)])
  assert.equal(threads.stats().completed, 2)
})

test('a task whose client is gone already starts no thread', limits, async (t) => {
  const started = watchThreads(t)
  const threads = open(t, { size: 1, queueLength: 0 })
  await assert.rejects(threads.cpu(10, AbortSignal.abort(reason)), reason)
  assert.equal(started.length, 0)
})

test('a thread that dies fails its own task only, and is replaced', limits, async (t) => {
  const started = watchThreads(t)
  const threads = await openWarm(t, { size: 2, queueLength: 2 })
  const doomed = Promise.allSettled([threads.sleep(400), threads.sleep(400)])
  const waiting = [threads.sleep(1), threads.cpu(1)]
  await started[0]!.terminate()
  const outcomes = await doomed
  assert.deepEqual(outcomes.map((outcome) => outcome.status).toSorted(), ['fulfilled', 'rejected'])
  await Promise.all(waiting)
  await Promise.all([threads.sleep(50), threads.sleep(50)])
  assert.equal(threads.stats().busy, 0)
})

test('threads that die idle are replaced', limits, async (t) => {
  const started = watchThreads(t)
  const threads = await openWarm(t, { size: 2, queueLength: 0 })
  await Promise.all(started.map((thread) => thread.terminate()))
  await Promise.all([threads.sleep(1), threads.cpu(1)])
})

test('tasks of threads that die at their start fail, none hangs, and the next task starts anew', limits, async (t) => {
  const deaths: Promise<unknown>[] = []
  const doom = (thread: Worker): void => void deaths.push(thread.terminate())
  process.on('worker', doom)
  t.after(() => process.off('worker', doom))
  const threads = open(t, { size: 2, queueLength: 8 })
  const outcomes = await Promise.allSettled(Array.from({ length: 6 }, () => threads.sleep(10)))
  assert.deepEqual(new Set(outcomes.map((outcome) => outcome.status)), new Set(['rejected']))
  process.off('worker', doom)
  await Promise.all(deaths)
  await threads.sleep(1)
  assert.deepEqual(threads.stats(), { size: 2, busy: 0, queued: 0, completed: 1 })
})

test('closing waits for what runs and waits, refuses the rest, and ends the threads', limits, async (t) => {
  const started = watchThreads(t)
  const threads = await openWarm(t, { size: 1, queueLength: 1 })
  const ended = once(started[0]!, 'exit')
  const accepted = [threads.sleep(100), threads.cpu(20)]
  const closed = threads.close({ timeoutMs: 5_000 })
  await assert.rejects(threads.sleep(1), isFailure('draining'))
  await Promise.all([...accepted, closed, ended])
  assert.equal(threads.stats().completed, 2)
})

test('closing fails what is not done in time', limits, async (t) => {
  const threads = await openWarm(t, { size: 1, queueLength: 1 })
  const tasks = [threads.sleep(10_000), threads.cpu(10_000)]
  const rejected = Promise.all(tasks.map((task) => assert.rejects(task, isFailure('draining'))))
  const closedMs = await time(() => threads.close({ timeoutMs: 100 }))
  await rejected
  assert.ok(closedMs >= 95 && closedMs < 1_000, `${closedMs} ms`)
})

test('closing threads that were never used starts none', limits, async (t) => {
  const started = watchThreads(t)
  const threads = open(t, { size: 4, queueLength: 0 })
  await threads.close({ timeoutMs: 1_000 })
  assert.equal(started.length, 0)
})

test('a task that waits for a thread shows how long, and then how long it ran', async (t) => {
  const threads = await openWarm(t, { size: 1, queueLength: 2 })
  const { root, spans } = recordedTrace(processClock)
  const controller = new AbortController()
  const running = threads.sleep(60_000, controller.signal).catch(() => {})
  const waiting = threads.sleep(1, cancelOf(root))
  const given = new AbortController()
  const unwanted = threads.sleep(1, cancelOf(root, given))
  await setTimeout(30)
  given.abort(new Failure('client-closed-request'))
  await assert.rejects(unwanted)
  controller.abort(new Error('enough'))
  await Promise.all([running, waiting])
  const seen = spans.map(({ name, parent, errorType }) => [name, parent!.name, errorType])
  assert.deepEqual(seen, [
    ['thread', 'request', undefined],
    ['thread queue', 'thread', undefined],
    ['thread', 'request', 'client-closed-request'],
    ['thread queue', 'thread', 'client-closed-request'],
    ['thread run', 'thread', undefined],
  ])
  const [task, queue, , , run] = spans
  assert.ok(queue!.endMs - queue!.startMs >= 29)
  assert.deepEqual([task!.startMs, task!.endMs >= run!.endMs], [queue!.startMs, true])
  assert.ok(run!.startMs >= queue!.endMs)
  assert.deepEqual([threads.queued.value, threads.waits.counts.reduce((sum, count) => sum + count)], [0, 3])
})

test('the integrals of the threads are the time that tasks ran and waited', async (t) => {
  const threads = await openWarm(t, { size: 1, queueLength: 2 })
  await Promise.all([threads.sleep(40), threads.sleep(40)])
  await until(() => threads.stats().busy === 0)
  assert.deepEqual([threads.busy.value, threads.queued.value], [0, 0])
  const nowMs = performance.now()
  // The second waited for about as long as the first ran.
  assert.ok(threads.busy.seconds(nowMs) >= 0.079)
  assert.ok(threads.queued.seconds(nowMs) >= 0.039)
  assert.ok(threads.queued.seconds(nowMs) <= threads.busy.seconds(nowMs))
  assert.equal(
    threads.waits.counts.reduce((sum, count) => sum + count),
    2,
  )
})
