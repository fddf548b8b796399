import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadMetrics } from '../../../src/contract/load-metrics.ts'
import type { RunResult } from '../../../src/contract/run-result.ts'
import type { Metric } from '../../../src/kit/metrics.ts'
import { RunMetrics } from '../../../src/lab/load/metrics.ts'
import type { LoadOptions } from '../../../src/lab/load/options.ts'
import { runLoad } from '../../../src/lab/load/run.ts'
import { FakeTransport, type Behaviour, type FakeRequest } from './fake-transport.ts'
import { VirtualClock } from './virtual-clock.ts'

const defaults: LoadOptions = {
  targets: ['http://service/'],
  method: 'GET',
  headers: [],
  body: undefined,
  ratePerSecond: 100,
  durationMs: 2_000,
  warmupMs: 0,
  arrivals: 'poisson',
  seed: 42,
  timeoutMs: 400,
  maxInFlight: 50,
  connections: 8,
  slos: [],
}

const identity = {
  id: 'run-1',
  tool: { name: 'plimsoll', version: '1.2.3', revision: 'abc' },
  startedAt: new Date('2026-01-02T03:04:05.678Z'),
}

type Ran = {
  readonly result: RunResult
  readonly before: Metric[]
  readonly midway: Metric[]
  readonly after: Metric[]
}

/** A run on the virtual clock, and its metrics before it, after half of its time, and after it. */
const run = async (
  given: Partial<LoadOptions>,
  behave: (request: FakeRequest) => Behaviour,
  also: (clock: VirtualClock) => void = () => {},
): Promise<Ran> => {
  const clock = new VirtualClock()
  also(clock)
  const options = { ...defaults, ...given }
  const observer = new RunMetrics({ ...options, runId: identity.id })
  const before = observer.collect()
  let midway: Metric[] = []
  clock.after((options.warmupMs + options.durationMs) / 2, () => (midway = observer.collect()))
  const running = runLoad(identity, options, { clock, transport: new FakeTransport(clock, behave), observer })
  clock.run()
  return { result: await running, before, midway, after: observer.collect() }
}

const valueOf = (metrics: readonly Metric[], name: string, labels: Record<string, unknown> = {}): number => {
  const lines = metrics.flatMap(({ name: metric, values }) => values.map((line) => ({ metric, ...line })))
  const found = lines.filter(
    (line) =>
      (line.metricName ?? line.metric) === name &&
      Object.entries(labels).every(([label, value]) => line.labels[label] === value),
  )
  assert.equal(found.length, 1, `${name} ${JSON.stringify(labels)}`)
  return found[0]!.value
}

let turn = 0
/** In turn: soon, late, an error, a broken connection, nothing at all. */
const mixed = (): Behaviour =>
  (
    [
      { answerAfterMs: 3 },
      { answerAfterMs: 300 },
      { answerAfterMs: 20, status: 503 },
      { failAfterMs: 1, code: 'ECONNRESET' },
      'silence',
    ] as const
  )[turn++ % 5]!

test('the metrics of a run that is over say what its result says', async () => {
  const { result, after } = await run({}, mixed)
  const { achieved, outcomes } = result
  assert.ok(outcomes.ok > 0 && outcomes.httpError > 0 && outcomes.timeout > 0 && outcomes.connectionError > 0)
  for (const [outcome, count] of Object.entries(outcomes)) {
    assert.equal(valueOf(after, 'plimsoll_load_answers_total', { outcome }), count, outcome)
  }
  assert.equal(valueOf(after, 'plimsoll_load_sent_total'), achieved.requests)
  assert.equal(valueOf(after, 'plimsoll_load_missed_total'), achieved.missed)
  assert.equal(valueOf(after, 'plimsoll_load_arrivals_total'), achieved.requests + achieved.missed)
  const timed = achieved.requests - outcomes.connectionError
  for (const name of ['latency', 'service'] as const) {
    const summary = result[name === 'latency' ? 'latencyMs' : 'serviceTimeMs']!
    assert.equal(valueOf(after, `plimsoll_load_${name}_seconds_count`), timed)
    const sumSeconds = valueOf(after, `plimsoll_load_${name}_seconds_sum`)
    assert.ok(Math.abs(sumSeconds / timed / (summary.mean / 1_000) - 1) < 0.01, `${name} ${sumSeconds / timed}`)
    assert.equal(valueOf(after, `plimsoll_load_${name}_seconds_bucket`, { le: '+Inf' }), timed)
  }
  assert.equal(valueOf(after, 'plimsoll_load_send_lag_seconds_count'), achieved.requests)
})

test('what holds up sending is in latency and in send lag, and not in service time', async () => {
  const { after } = await run(
    { arrivals: 'constant', maxInFlight: 1_000 },
    () => ({ answerAfterMs: 0.5 }),
    (clock) => clock.after(500, () => clock.freeze(1_000)),
  )
  // A hundred arrivals fell into the second, were sent at its end, and waited for half of it on average.
  for (const name of ['latency', 'send_lag']) {
    const seconds = valueOf(after, `plimsoll_load_${name}_seconds_sum`)
    assert.ok(seconds > 49 && seconds < 53, `${name} ${seconds}`)
  }
  assert.ok(valueOf(after, 'plimsoll_load_service_seconds_sum') < 1.2)
})

test('arrivals that were missed are counted as asked for and not as sent', async () => {
  const { result, after } = await run({ maxInFlight: 3 }, () => 'silence')
  assert.ok(result.achieved.missed > 100)
  assert.equal(valueOf(after, 'plimsoll_load_missed_total'), result.achieved.missed)
  assert.equal(valueOf(after, 'plimsoll_load_arrivals_total'), result.achieved.missed + result.achieved.requests)
  assert.equal(valueOf(after, 'plimsoll_load_sent_total'), result.achieved.requests)
})

test('in flight is what was sent and has not ended', async () => {
  const { midway, after } = await run({ arrivals: 'constant', timeoutMs: 10_000 }, () => ({ answerAfterMs: 250 }))
  const inFlight = valueOf(midway, 'plimsoll_load_in_flight')
  assert.ok(inFlight >= 24 && inFlight <= 26, `${inFlight}`)
  const ended = valueOf(midway, 'plimsoll_load_answers_total', { outcome: 'ok' })
  assert.equal(inFlight, valueOf(midway, 'plimsoll_load_sent_total') - ended)
  assert.equal(valueOf(after, 'plimsoll_load_in_flight'), 0)
})

test('the rate asked is 0 before the run and after its arrivals', async () => {
  const { before, midway, after } = await run({}, mixed)
  const rates = [before, midway, after].map((metrics) => valueOf(metrics, 'plimsoll_load_rate_asked_per_second'))
  assert.deepEqual(rates, [0, 100, 0])
})

test('requests of the warm-up are in the counts and not in the histograms', async () => {
  const { result, midway, after } = await run({ warmupMs: 2_000, arrivals: 'constant' }, () => ({ answerAfterMs: 1 }))
  assert.equal(valueOf(after, 'plimsoll_load_sent_total'), 400)
  assert.equal(valueOf(after, 'plimsoll_load_answers_total', { outcome: 'ok' }), 400)
  assert.equal(result.achieved.requests, 200)
  for (const name of ['latency', 'service', 'send_lag']) {
    assert.equal(valueOf(after, `plimsoll_load_${name}_seconds_count`), 200)
  }
  assert.ok(valueOf(midway, 'plimsoll_load_sent_total') >= 199)
})

test('every metric of the contract is there from the start, with all of its labels', async () => {
  const { before } = await run({}, mixed)
  assert.deepEqual(
    before.map(({ name }) => name),
    Object.keys(loadMetrics),
  )
  for (const { name, values } of before) {
    const labels = new Set(values.flatMap(({ labels: given }) => Object.keys(given)).filter((label) => label !== 'le'))
    assert.deepEqual([...labels], loadMetrics[name as keyof typeof loadMetrics].labels, name)
  }
  assert.equal(valueOf(before, 'plimsoll_load_run_info', { run_id: 'run-1', arrivals: 'poisson' }), 1)
})
