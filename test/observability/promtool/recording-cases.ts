import type { LimitedResource } from '../../../src/observability/queries.ts'
import { records } from '../../../src/observability/rules/index.ts'
import { type Window, windows, windowSeconds } from '../../../src/observability/rules/windows.ts'
import type { RecordedValue, RecordingCase } from './cases.ts'
import { histogram, level, of, replica, requests, rising, secondReplica, type Series } from './series.ts'

const job = { job: 'plimsoll' }

/**
 * A window whose first half was busy and bad and whose second was quiet and good: the mean of its ratios would be half of
 * the ratio of its means.
 */
const half = (window: Window): RecordingCase => {
  const minutes = windowSeconds[window] / 60
  const everyMinutes = minutes > 120 ? 5 * Math.ceil(minutes / 720) : 1
  const before = Math.max(10, everyMinutes)
  // A rate at some time is that of the 5 minutes before it: the change is seen in its middle.
  const until = before + minutes / 2 - 2
  const values = (first: number, second: number): string => rising([first, until], [second, minutes])
  return {
    series: { ...requests('2xx', values(90, 10), values(81, 10)), ...requests('5xx', values(10, 0)) },
    atMinutes: before + minutes,
    everyMinutes,
    values: {
      [records.requests(window)]: { roundTo: 5, samples: [{ labels: job, value: 55 }] },
      // 10 of 100 in the one half, 0 of 10 in the other.
      [records.errorRatio(window)]: { roundTo: 0.01, samples: [{ labels: job, value: 0.09 }] },
      // 9 of 90, and 0 of 10.
      [records.slowRatio(window)]: { roundTo: 0.01, samples: [{ labels: job, value: 0.09 }] },
    },
  }
}

/** Five minutes are looked at directly, so that there are no halves: see `steady`. */
const halves = windows.filter((window) => window !== '5m').map(half)

const ofJob = (value: number): RecordedValue => ({ samples: [{ labels: job, value }] })
const ofReplica = (value: number, labels = {}): RecordedValue => ({
  samples: [{ labels: { ...replica, ...labels }, value }],
})
const nothing: RecordedValue = { samples: [] }

const atMinutes = 20

const requestCases: readonly RecordingCase[] = [
  {
    // Two replicas: 60 + 30 good ones a second, 9 of them late, 5 uploads, 10 that failed; and what nobody asked for.
    series: {
      ...requests('2xx', rising(60), rising(54)),
      ...requests('2xx', rising(30), rising(27), secondReplica),
      ...requests('5xx', rising(10)),
      ...requests('2xx', rising(5), level(0), { http_route: '/uploads' }),
      ...requests('4xx', rising(1_000), level(0), { http_route: 'unmatched' }),
    },
    atMinutes,
    values: {
      [records.requests('5m')]: ofJob(105),
      [records.errors]: ofJob(10),
      [records.served]: ofJob(90),
      [records.slow]: ofJob(9),
      [records.errorRatio('5m')]: ofJob(0.0952),
      [records.slowRatio('5m')]: ofJob(0.1),
    },
  },
  {
    // No error yet is no errors.
    series: requests('2xx', rising(60)),
    atMinutes,
    values: { [records.errors]: ofJob(0), [records.errorRatio('1h')]: ofJob(0) },
  },
  {
    // No requests have no ratio.
    series: requests('2xx', level(5)),
    atMinutes,
    values: { [records.errors]: ofJob(0), [records.errorRatio('5m')]: nothing, [records.slowRatio('1h')]: nothing },
  },
  {
    // 100 a second up to 250 ms by the one replica, 100 from there to 1 s by the other: half are in the first bucket, so
    // the middle is its end; 90 % lie at four fifths of the second, 99 % at 49 fiftieths.
    series: {
      ...requests('2xx', rising(100), rising(100)),
      ...requests('2xx', rising(100), rising(0), secondReplica),
    },
    atMinutes,
    values: {
      [records.latency(50)]: ofJob(0.25),
      [records.latency(90)]: ofJob(0.85),
      [records.latency(99)]: ofJob(0.985),
    },
  },
]

const loop = (worker: number, active: number): Series => ({
  ...of('nodejs_eventloop_time_seconds_total', { nodejs_eventloop_state: 'active', worker }, rising(active)),
  ...of('nodejs_eventloop_time_seconds_total', { nodejs_eventloop_state: 'idle', worker }, rising(1 - active)),
})

const heap = (worker: number, used: number): Series => ({
  ...of('v8js_memory_heap_used_bytes', { worker }, level(used)),
  ...of('v8js_memory_heap_limit_bytes', { worker }, level(100)),
})

const collecting = (type: string, worker: number, share: number): Series =>
  of('v8js_gc_duration_seconds', { v8js_gc_type: type, worker }, rising(share), '_sum')

const levelCases: readonly RecordingCase[] = [
  {
    series: {
      ...of('plimsoll_requests_seconds_total', {}, rising(7)),
      ...of('plimsoll_requests_seconds_total', secondReplica, rising(5)),
      ...of('plimsoll_admission_refused_total', { reason: 'queue-full' }, rising(2)),
      ...of('plimsoll_admission_refused_total', { ...secondReplica, reason: 'displaced' }, rising(1)),
    },
    atMinutes,
    values: {
      [records.inFlight]: ofJob(12),
      [records.inFlightByInstance]: { samples: [...ofReplica(7).samples, ...ofReplica(5, secondReplica).samples] },
      [records.refused]: ofJob(3),
    },
  },
  {
    series: {
      ...of('plimsoll_admission_queued_seconds_total', {}, rising(4)),
      ...of('plimsoll_db_connections_pending_seconds_total', {}, rising(3)),
      ...of('plimsoll_threads_queued_seconds_total', {}, rising(6)),
      ...of('plimsoll_cgroup_cpu_periods_total', {}, rising(8)),
      ...of('plimsoll_cgroup_cpu_throttled_periods_total', {}, rising(2)),
      ...collecting('minor', 1, 0.1),
      ...collecting('major', 1, 0.2),
      ...collecting('major', 2, 0.25),
      ...histogram('plimsoll_eventloop_delay_seconds', { worker: 1 }, { 0.05: rising(40), '+Inf': rising(40) }),
    },
    atMinutes,
    values: {
      [records.queued]: ofReplica(4),
      [records.poolPending]: ofReplica(3),
      [records.threadsQueued]: ofReplica(6),
      [records.throttled]: ofReplica(0.25),
      [records.garbageCollection]: ofReplica(0.3),
      [records.eventLoopDelay]: ofReplica(0.0495),
    },
  },
]

/** What is full of each resource; written out for the test that none is forgotten. */
const saturations: Readonly<Record<LimitedResource, readonly [share: number, series: Series]>> = {
  'event loop': [0.75, { ...loop(1, 0.25), ...loop(2, 0.75) }],
  cpu: [
    0.6,
    {
      ...of('plimsoll_cgroup_cpu_seconds_total', {}, rising(0.9)),
      ...of('plimsoll_cgroup_cpu_limit_cores', {}, level(1.5)),
    },
  ],
  admission: [
    0.4,
    {
      ...of('plimsoll_admission_in_flight_seconds_total', {}, rising(40)),
      ...of('plimsoll_admission_limit', {}, level(100)),
    },
  ],
  threads: [
    0.5,
    { ...of('plimsoll_threads_busy_seconds_total', {}, rising(2)), ...of('plimsoll_threads', {}, level(4)) },
  ],
  'connection pool': [
    0.875,
    {
      ...of('plimsoll_db_connections_used_seconds_total', {}, rising(7)),
      ...of('plimsoll_db_connections_max', {}, level(8)),
    },
  ],
  memory: [
    0.9,
    {
      ...of('plimsoll_cgroup_memory_bytes', {}, level(900)),
      ...of('plimsoll_cgroup_memory_limit_bytes', {}, level(1_000)),
    },
  ],
  heap: [0.8, { ...heap(1, 20), ...heap(2, 80) }],
  'file descriptors': [0.3, { ...of('process_open_fds', {}, level(300)), ...of('process_max_fds', {}, level(1_000)) }],
}

const saturationCase: RecordingCase = {
  series: Object.assign({}, ...Object.values(saturations).map(([, series]) => series)) as Series,
  atMinutes,
  values: {
    [records.eventLoop]: {
      samples: [...ofReplica(0.25, { worker: '1' }).samples, ...ofReplica(0.75, { worker: '2' }).samples],
    },
    [records.saturation]: {
      samples: Object.entries(saturations).flatMap(([resource, [share]]) => ofReplica(share, { resource }).samples),
    },
    [records.fullest]: ofReplica(0.9),
    [records.nearestLimit]: ofReplica(0.9, { resource: 'memory' }),
  },
}

export const recordingCases: readonly RecordingCase[] = [...requestCases, ...halves, ...levelCases, saturationCase]

/** A quarter of all requests took longer than a second; the bucket that ends there has this bound. */
export const lateCase = (bound: string): RecordingCase => {
  const labels = { http_route: '/json', http_response_status_class: '2xx' }
  const upTo = { 0.25: rising(0), [bound]: rising(75), 10: rising(100), '+Inf': rising(100) }
  return {
    series: histogram('http_server_request_duration_seconds', labels, upTo),
    atMinutes,
    values: { [records.slowRatio('5m')]: ofJob(0.25) },
  }
}
