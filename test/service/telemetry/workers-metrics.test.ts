import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { requestBounds } from '../../../src/contract/metrics.ts'
import { Buckets, type Metric } from '../../../src/kit/metrics.ts'
import { metricOf, single } from '../../../src/service/telemetry/collect.ts'
import { packMetrics, unpackMetrics } from '../../../src/service/telemetry/workers-metrics-packed.ts'
import { type MetricsNews, reportMetrics } from '../../../src/service/telemetry/workers-metrics-report.ts'
import { type WorkerFigures, WorkersMetrics } from '../../../src/service/telemetry/workers-metrics.ts'
import { VirtualClock } from '../work/virtual-clock.ts'

const durations = 'http_server_request_duration_seconds'

/** What a worker tells that has answered some requests, in these times. */
const metricsOf = (seconds: readonly number[], active = 0): Metric[] => {
  const buckets = new Buckets(requestBounds(250))
  for (const value of seconds) buckets.observe(value)
  if (seconds.length > 0) buckets.exemplify(seconds[0]!, { trace_id: 'abc' }, 7)
  return [
    metricOf(durations, [
      ...buckets.samples(durations, { http_route: '/a' }),
      ...buckets.samples(durations, { http_route: '/b' }),
    ]),
    metricOf('plimsoll_requests_seconds_total', single(seconds.reduce((a, b) => a + b, 0))),
    metricOf('http_server_active_requests', single(active)),
    metricOf('plimsoll_slo_seconds', single(0.25)),
  ]
}

const overTheWire = <Message>(message: Message): Message => JSON.parse(JSON.stringify(message)) as Message

test('metrics come out of their packing as they went in', () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 20, noNaN: true })), (seconds) => {
      const metrics = metricsOf(seconds)
      const sent = overTheWire(packMetrics(metrics, { exemplars: true }))
      assert.deepEqual(unpackMetrics(sent), metrics)
    }),
  )
})

test('packed, a histogram takes a tenth of what its lines take', () => {
  const packed = JSON.stringify(packMetrics(metricsOf([0.1, 0.2]), { exemplars: false }))
  assert.ok(packed.length * 8 < JSON.stringify(metricsOf([0.1, 0.2])).length)
  assert.ok(!packed.includes('abc'))
})

test('a metric of which the contract knows nothing is left out', () => {
  const [unknown] = packMetrics([{ name: 'toString', type: 'gauge', help: '', values: single(1) }], { exemplars: true })
  assert.deepEqual(unpackMetrics([unknown!]), [])
})

/** A worker's process, which answers when it is told to. */
class Process {
  readonly asked: number[] = []
  readonly figures: WorkerFigures
  answers = true
  metrics: readonly Metric[] = metricsOf([])

  constructor(workers: WorkersMetrics, number: number) {
    this.figures = workers.started(number, ({ round }) => this.#hear(round))
  }

  tell(seconds: readonly number[], active = 0): void {
    this.metrics = metricsOf(seconds, active)
    this.#report()
  }

  #hear(round: number): void {
    this.asked.push(round)
    if (this.answers) setImmediate(() => this.#report(round))
  }

  #report(round?: number): void {
    const metrics = packMetrics(this.metrics, { exemplars: true })
    this.figures.heard(overTheWire<MetricsNews>({ kind: 'metrics', metrics, ...(round && { round }) }))
  }
}

const start = (count: number) => {
  const clock = new VirtualClock()
  const workers = new WorkersMetrics(count, clock)
  const processes = Array.from({ length: count }, (_, index) => new Process(workers, index + 1))
  const valueOf = async (name: string, part = '', ms = 0): Promise<number | undefined> => {
    const collecting = workers.collect()
    await clock.advance(ms)
    const samples = (await collecting).find((metric) => metric.name === name)?.values ?? []
    return samples.find(({ metricName = name }) => metricName === name + part)?.value
  }
  return { clock, workers, processes, valueOf }
}

test('a scrape shows what all workers say now, added up', async () => {
  const { processes, valueOf, clock } = start(2)
  processes[0]!.tell([])
  processes[1]!.tell([])
  processes[0]!.metrics = metricsOf([0.1, 0.2], 3)
  processes[1]!.metrics = metricsOf([0.3], 4)
  assert.equal(await valueOf(durations, '_count'), 3)
  assert.equal(await valueOf('http_server_active_requests'), 7)
  assert.equal(await valueOf('plimsoll_slo_seconds'), 0.25)
  assert.equal(clock.pending, 0)
})

test('after 250 ms a scrape shows the last known figures of a worker that does not answer, and counts that', async () => {
  const { processes, valueOf, workers, clock } = start(2)
  processes[0]!.tell([0.1])
  processes[1]!.tell([0.2, 0.3])
  processes[1]!.answers = false
  processes[0]!.metrics = metricsOf([0.1, 0.1])
  let done = false
  const collecting = workers.collect().finally(() => (done = true))
  await clock.advance(249)
  assert.equal(done, false)
  await clock.advance(1)
  assert.equal(done, true)
  await collecting
  assert.equal(workers.missed, 1)
  assert.equal(await valueOf(durations, '_count', 250), 4)
  assert.deepEqual([workers.missed, processes[1]!.asked], [2, [1, 2]])
})

test('an answer that comes too late for its scrape is good for the next', async () => {
  const { processes, valueOf } = start(1)
  processes[0]!.tell([0.1])
  processes[0]!.answers = false
  await valueOf(durations, '_count', 250)
  processes[0]!.tell([0.1, 0.2])
  assert.equal(await valueOf(durations, '_count', 250), 2)
})

test('a worker that has not come up yet is not waited for', async () => {
  const { processes, valueOf, workers } = start(2)
  processes[0]!.tell([0.1])
  assert.equal(await valueOf(durations, '_count'), 1)
  assert.deepEqual([workers.missed, processes[1]!.asked], [0, []])
})

test('a worker that dies while it is asked is not waited for and not counted as missed', async () => {
  const { processes, workers, clock } = start(1)
  processes[0]!.tell([0.1])
  processes[0]!.answers = false
  const collecting = workers.collect()
  processes[0]!.figures.gone()
  await collecting
  assert.deepEqual([workers.missed, clock.pending], [0, 0])
})

test('what a worker has counted stays when it is gone; its gauges go', async () => {
  const { processes, valueOf, workers } = start(2)
  processes[0]!.tell([0.1], 5)
  processes[1]!.tell([0.2], 6)
  processes[0]!.figures.gone()
  assert.equal(await valueOf(durations, '_count'), 2)
  assert.equal(await valueOf('http_server_active_requests'), 6)
  const next = new Process(workers, 1)
  assert.equal(await valueOf(durations, '_count'), 2)
  next.tell([0.1, 0.1], 1)
  assert.equal(await valueOf(durations, '_count'), 4)
  assert.equal(await valueOf('http_server_active_requests'), 7)
})

test('of a process that has been replaced nothing more is heard', async () => {
  const { processes, valueOf, workers } = start(1)
  processes[0]!.tell([0.1])
  const next = new Process(workers, 1)
  next.tell([])
  processes[0]!.tell([0.1, 0.1, 0.1])
  assert.equal(await valueOf(durations, '_count'), 1)
})

type Event = { readonly worker: number; readonly what: 'work' | 'die' | 'block' | 'wake'; readonly seconds: number }

const events = fc.array(
  fc.record<Event>({
    worker: fc.nat(2),
    what: fc.constantFrom('work', 'work', 'work', 'die', 'block', 'wake'),
    // Of such fractions a sum depends on their order in its last digit.
    seconds: fc.integer({ min: 1, max: 5_000 }).map((ms) => ms / 1_000),
  }),
  { minLength: 10, maxLength: 30 },
)

test('totals never fall, whatever workers do, are blocked, die and are replaced', async () => {
  const happen = async (all: readonly Event[]): Promise<void> => {
    const { processes, workers, valueOf } = start(3)
    const done = processes.map((): number[] => [])
    for (const process of processes) process.tell([])
    let last = { count: 0, sum: 0, integral: 0 }
    for (const { worker, what, seconds } of all) {
      if (what === 'work') processes[worker]!.metrics = metricsOf(done[worker]!.push(seconds) ? done[worker]! : [])
      if (what === 'block' || what === 'wake') processes[worker]!.answers = what === 'wake'
      if (what === 'die') {
        processes[worker]!.figures.gone()
        processes[worker] = new Process(workers, worker + 1)
        processes[worker].tell((done[worker] = []))
      }
      const count = (await valueOf(durations, '_count', 250))!
      const sum = (await valueOf(durations, '_sum', 250))!
      const integral = (await valueOf('plimsoll_requests_seconds_total', '', 250))!
      assert.ok(count >= last.count && sum >= last.sum && integral >= last.integral, what)
      last = { count, sum, integral }
    }
  }
  await fc.assert(fc.asyncProperty(events, happen), { numRuns: 40 })
})

/** A worker's end of the channel. */
const reporting = (collect: () => Promise<readonly Metric[]> = () => Promise.resolve(metricsOf([0.1]))) => {
  const clock = new VirtualClock()
  const told: MetricsNews[] = []
  const failures: unknown[] = []
  const listeners: ((message: unknown) => void)[] = []
  const report = reportMetrics({
    collect,
    tell: (news) => {
      told.push(news)
      return Promise.resolve()
    },
    listen: (listener) => void listeners.push(listener),
    clock,
    onFailure: (err) => failures.push(err),
  })
  return { clock, told, failures, report, order: (message: object) => listeners[0]!(message) }
}

test('a worker tells its figures at once, each 2 s, and when it ends', async () => {
  const { clock, told, report } = reporting()
  await clock.advance(0)
  assert.equal(told.length, 1)
  await clock.advance(2_000)
  assert.equal(told.length, 2)
  await clock.advance(6_000)
  assert.equal(told.length, 5)
  await report[Symbol.asyncDispose]()
  assert.equal(told.length, 6)
  await clock.advance(10_000)
  assert.deepEqual([told.length, clock.pending], [6, 0])
  assert.ok(!JSON.stringify(told).includes('abc'))
})

test('a worker answers each question with its round and exemplars, and nothing else', async () => {
  const { clock, told, order } = reporting()
  await clock.advance(0)
  order({ kind: 'tell-metrics', round: 17 })
  order({ kind: 'report-faults' })
  await clock.advance(0)
  assert.deepEqual([told.length, told[1]!.round], [2, 17])
  assert.ok(JSON.stringify(told[1]).includes('abc'))
})

test('a worker whose figures cannot be collected says so and tries again', async () => {
  let fail = true
  const { clock, told, failures } = reporting(() =>
    fail ? Promise.reject(new Error('no figures')) : Promise.resolve(metricsOf([])),
  )
  await clock.advance(0)
  assert.deepEqual([told.length, failures.length], [0, 1])
  fail = false
  await clock.advance(2_000)
  assert.deepEqual([told.length, failures.length], [1, 1])
})

test('figures are told in the order in which they were collected, however long each collection takes', async () => {
  let requests = 0
  const slow = Promise.withResolvers<void>()
  const { clock, told, order } = reporting(async () => {
    const metrics = metricsOf(Array.from({ length: ++requests }, () => 1))
    if (requests === 1) await slow.promise
    return metrics
  })
  order({ kind: 'tell-metrics', round: 1 })
  order({ kind: 'tell-metrics', round: 2 })
  await clock.advance(0)
  slow.resolve()
  await clock.advance(0)
  const counted = told.map(({ metrics }) => metrics.find(({ name }) => name === 'plimsoll_requests_seconds_total'))
  assert.deepEqual(
    counted.map((metric) => metric!.rows[0]![1]),
    [1, 2, 3],
  )
})
