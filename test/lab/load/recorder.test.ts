import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { outcomes, type TimelinePoint } from '../../../src/contract/run-result.ts'
import { Histogram } from '../../../src/kit/histogram.ts'
import type { Sample } from '../../../src/lab/load/driver.ts'
import { Recorder } from '../../../src/lab/load/recorder.ts'

const sample = (given: Partial<Sample>): Sample => ({
  intendedMs: 0,
  sentMs: given.intendedMs ?? 0,
  endedMs: (given.sentMs ?? given.intendedMs ?? 0) + 1,
  outcome: 'ok',
  status: given.outcome === undefined || given.outcome === 'ok' ? 200 : 0,
  instance: '',
  error: '',
  ...given,
})

/** Tells a recorder of the samples in the order of time, as a driver would. */
const recorded = (samples: readonly Sample[], options: { warmupMs?: number; endMs?: number } = {}): Recorder => {
  const { warmupMs = 0, endMs = 10_000 } = options
  const recorder = new Recorder({ warmupMs, endMs })
  const events = samples.flatMap((each) => [
    { atMs: each.sentMs, tell: () => recorder.sent(each) },
    { atMs: each.endedMs, tell: () => recorder.ended(each) },
  ])
  events.push({ atMs: endMs, tell: () => recorder.arrivalsEnded(endMs) })
  for (const { tell } of events.sort((a, b) => a.atMs - b.atMs)) tell()
  recorder.close()
  return recorder
}

const samples = fc.array(
  fc
    .record({
      intendedMs: fc.integer({ min: 0, max: 9_999 }),
      lagMs: fc.integer({ min: 0, max: 50 }),
      serviceMs: fc.integer({ min: 0, max: 4_000 }),
      outcome: fc.constantFrom(...outcomes),
      status: fc.constantFrom(200, 204, 404, 503),
    })
    .map(({ intendedMs, lagMs, serviceMs, outcome, status }) =>
      sample({ intendedMs, sentMs: intendedMs + lagMs, endedMs: intendedMs + lagMs + serviceMs, outcome, status }),
    ),
  { maxLength: 60 },
)

const merged = (a: Histogram, b: Histogram): string => {
  const sum = new Histogram()
  sum.add(a)
  sum.add(b)
  return sum.encode()
}

const sumOf = (points: readonly TimelinePoint[], field: 'sent' | 'answered' | 'errors'): number =>
  points.reduce((sum, point) => sum + point[field], 0)

test('merging two recorders equals recording both', () => {
  fc.assert(
    fc.property(samples, samples, (a, b) => {
      const [first, second, both] = [recorded(a), recorded(b), recorded([...a, ...b])]
      for (const name of ['latency', 'serviceTime', 'sendLag', 'failures'] as const) {
        assert.equal(merged(first[name], second[name]), both[name].encode(), name)
      }
      for (const outcome of outcomes) {
        assert.equal(first.outcomes[outcome] + second.outcomes[outcome], both.outcomes[outcome])
      }
    }),
  )
})

test('outcomes add up to the requests, and the timeline to both', () => {
  fc.assert(
    fc.property(samples, (all) => {
      const { requests, outcomes: counts, timeline } = recorded(all)
      assert.equal(requests, all.length)
      assert.equal(
        outcomes.reduce((sum, outcome) => sum + counts[outcome], 0),
        requests,
      )
      assert.equal(sumOf(timeline, 'sent'), requests)
      assert.equal(sumOf(timeline, 'answered'), counts.ok + counts.httpError)
      assert.equal(sumOf(timeline, 'errors'), counts.httpError + counts.timeout + counts.connectionError)
      assert.equal(timeline.at(-1)?.inFlight ?? 0, 0)
    }),
  )
})

test('latency counts from the intended start, service time from the actual send', () => {
  const { latency, serviceTime, sendLag } = recorded([sample({ intendedMs: 10, sentMs: 15, endedMs: 40 })])
  assert.deepEqual([latency.maxMs, serviceTime.maxMs, sendLag.maxMs], [30, 25, 5])
})

test('answers of any status, time-outs and censored requests have a latency; failed connections have none', () => {
  const { latency, failures } = recorded([
    sample({ endedMs: 1, outcome: 'ok' }),
    sample({ endedMs: 2, outcome: 'httpError', status: 503 }),
    sample({ endedMs: 300, outcome: 'timeout' }),
    sample({ endedMs: 400, outcome: 'censored' }),
    sample({ endedMs: 500, outcome: 'connectionError', error: 'ECONNREFUSED' }),
  ])
  assert.deepEqual([latency.count, latency.maxMs], [4, 400])
  assert.deepEqual([failures.count, failures.maxMs], [3, 500])
})

test('the warm-up is cut by intended start: a late answer to it is not measured', () => {
  const recorder = recorded(
    [
      sample({ intendedMs: 999, endedMs: 5_000 }),
      sample({ intendedMs: 1_000, endedMs: 1_002 }),
      sample({ intendedMs: 998, outcome: 'timeout', endedMs: 6_000 }),
    ],
    { warmupMs: 1_000 },
  )
  assert.equal(recorder.requests, 1)
  assert.equal(recorder.latency.maxMs, 2)
  assert.equal(recorder.failures.count, 0)
  assert.equal(sumOf(recorder.timeline, 'sent'), 3, 'the timeline shows the whole run')
})

test('the throughput is what is answered while arrivals come, whenever it was sent', () => {
  const { answeredInTime, sentInTime, requests, backlog } = recorded(
    [
      sample({ intendedMs: 500, endedMs: 999 }),
      sample({ intendedMs: 600, endedMs: 1_500 }),
      sample({ intendedMs: 2_000, endedMs: 2_999 }),
      sample({ intendedMs: 2_500, endedMs: 3_001 }),
      sample({ intendedMs: 2_990, sentMs: 3_005, endedMs: 3_010 }),
    ],
    { warmupMs: 1_000, endMs: 3_000 },
  )
  assert.deepEqual(
    { answeredInTime, sentInTime, requests, backlog },
    { answeredInTime: 2, sentInTime: 2, requests: 3, backlog: 1 },
  )
})

test('each second of the timeline says what ended in it, and nothing is shown as no latency', () => {
  const { timeline } = recorded([
    sample({ intendedMs: 100, endedMs: 110 }),
    sample({ intendedMs: 900, endedMs: 3_100, outcome: 'httpError', status: 500 }),
  ])
  assert.deepEqual(timeline.slice(0, 4), [
    { atMs: 0, sent: 2, answered: 1, errors: 0, p50: 10, p99: 10, inFlight: 1 },
    { atMs: 1_000, sent: 0, answered: 0, errors: 0, p50: null, p99: null, inFlight: 1 },
    { atMs: 2_000, sent: 0, answered: 0, errors: 0, p50: null, p99: null, inFlight: 1 },
    { atMs: 3_000, sent: 0, answered: 1, errors: 1, p50: 2_200, p99: 2_200, inFlight: 0 },
  ])
})

test('seconds without requests are shown as they pass', () => {
  const shown: number[] = []
  const recorder = new Recorder({ warmupMs: 0, endMs: 5_000, onSecond: ({ atMs }) => shown.push(atMs) })
  recorder.ticked(999, 0)
  assert.deepEqual(shown, [])
  recorder.ticked(2_000, 0)
  assert.deepEqual(shown, [0, 1_000])
})

test('answers are counted by status and by instance', () => {
  const { statuses, instances } = recorded([
    sample({ instance: 'a/1' }),
    sample({ instance: 'a/1', outcome: 'httpError', status: 503 }),
    sample({ instance: 'a/2' }),
    sample({}),
    sample({ outcome: 'timeout' }),
  ])
  assert.deepEqual(
    [...statuses],
    [
      [200, 3],
      [503, 1],
    ],
  )
  assert.deepEqual(
    [...instances],
    [
      ['a/1', { requests: 2, errors: 1 }],
      ['a/2', { requests: 1, errors: 0 }],
    ],
  )
})

test('a service that makes up instances cannot fill the memory', () => {
  const { instances } = recorded(Array.from({ length: 2_000 }, (_, index) => sample({ instance: `pod-${index}` })))
  assert.equal(instances.size, 1_001)
  assert.equal(instances.get('(other)')?.requests, 1_000)
})

test('stalls of the driver are added up, small delays and those of the warm-up are not', () => {
  const recorder = new Recorder({ warmupMs: 1_000, endMs: 9_000 })
  for (const [nowMs, lateMs] of [
    [500, 400],
    [2_000, 99],
    [3_000, 150],
    [4_000, 250],
  ] as const)
    recorder.ticked(nowMs, lateMs)
  assert.equal(recorder.stalledMs, 400)
  assert.equal(recorder.longestStallMs, 250)
})
