import { bucketsOf, countOf, type Scope, type Slice, sumOfRates, upTo } from '../promql.ts'
import * as query from '../queries.ts'
import { answeredAtOnce, ofRoutes } from '../queries.ts'
import { ofJob, recorded, type RecordingRule, type RuleGroup, type RuleOptions } from './rule.ts'
import { type Window, windows } from './windows.ts'

/**
 * Names of recorded series: `level:metric:operations`, where the level says which labels are left.
 * https://prometheus.io/docs/practices/rules/
 */
export const records = {
  requests: (window: Window) => `job:http_server_requests:rate${window}`,
  errors: 'job:http_server_request_errors:rate5m',
  served: 'job:http_server_requests_served:rate5m',
  slow: 'job:http_server_requests_slow:rate5m',
  errorRatio: (window: Window) => `job:http_server_request_errors_per_requests:ratio_rate${window}`,
  slowRatio: (window: Window) => `job:http_server_requests_slow_per_requests_served:ratio_rate${window}`,
  latency: (percentile: number) => `job:http_server_request_duration_seconds:p${percentile}_rate5m`,
  inFlight: 'job:plimsoll_requests_seconds:rate5m',
  inFlightByInstance: 'instance:plimsoll_requests_seconds:rate5m',
  queued: 'instance:plimsoll_admission_queued_seconds:rate5m',
  refused: 'job:plimsoll_admission_refused:rate5m',
  eventLoop: 'instance_worker:nodejs_eventloop_utilization:ratio_rate5m',
  eventLoopDelay: 'instance:plimsoll_eventloop_delay_seconds:p99_rate5m',
  saturation: 'instance_resource:plimsoll_saturation:ratio_rate5m',
  nearestLimit: 'instance_resource:plimsoll_saturation:topk1_ratio_rate5m',
  fullest: 'instance:plimsoll_saturation:max_ratio_rate5m',
  throttled: 'instance:plimsoll_cgroup_cpu_throttled_periods:ratio_rate5m',
  garbageCollection: 'instance:v8js_gc_duration_seconds:max_rate5m',
  poolPending: 'instance:plimsoll_db_connections_pending_seconds:rate5m',
  threadsQueued: 'instance:plimsoll_threads_queued_seconds:rate5m',
} as const

/** What is recorded, in the order in which it is evaluated. */
export const recordingRules = (options: RuleOptions): readonly RuleGroup<RecordingRule>[] => [
  { name: 'plimsoll-requests', rules: [...requestRules(options), ...windows.flatMap(ratioRules(ofJob(options)))] },
  { name: 'plimsoll-replicas', rules: replicaRules(options) },
]

const job: readonly string[] = ['job']
const instance: readonly string[] = ['job', 'instance']
const window = '5m' satisfies Window

const notFailed: Scope = 'http_response_status_class!="5xx"'

const requestRules = (options: RuleOptions): RecordingRule[] => {
  const all: Slice = { scope: ofJob(options), window, by: job }
  const routes: Slice = { ...all, scope: `${ofJob(options)},${ofRoutes}` }
  return [
    { record: records.requests(window), expr: query.requestRate(routes) },
    // Without an error yet there is no series of errors: that is 0, not nothing.
    { record: records.errors, expr: `${query.errorRate(routes)} or ${query.requestRate(routes)} * 0` },
    ...latencyRules(options),
    { record: records.refused, expr: query.refusalRate(all) },
    { record: records.inFlight, expr: query.meanInFlight(all) },
    ...[50, 90, 99].map((percentile) => ({
      record: records.latency(percentile),
      expr: query.latencyQuantile(percentile / 100, routes),
    })),
  ]
}

/** Of a request that failed it does not matter how fast: it spends the other budget. */
const latencyRules = (options: RuleOptions): RecordingRule[] => {
  const requests = 'http_server_request_duration_seconds'
  const scopes = [ofJob(options), answeredAtOnce, notFailed]
  const slice = { window, by: job }
  const inTime = sumOfRates(bucketsOf(requests, ...scopes, upTo(options.sloMs / 1_000)), slice)
  return [
    { record: records.served, expr: sumOfRates(countOf(requests, ...scopes), slice) },
    { record: records.slow, expr: `${sumOfRates(countOf(requests, ...scopes), slice)} - ${inTime}` },
  ]
}

/**
 * Rates over a longer window are the mean of those over 5 minutes, which reads a few recorded series and not days of all
 * raw ones. Ratios are made of such rates, never of ratios: a quiet night must not weigh as much as a busy day.
 */
const ratioRules =
  (scope: Scope) =>
  (long: Window): RecordingRule[] => {
    const mean = (record: string): string => meanOver(long, record, scope)
    // No requests, no ratio: the series then has no sample, which no alert mistakes for a good one.
    const ratio = (part: string, whole: string): string => `${mean(part)} / (${mean(whole)} > 0)`
    return [
      ...(long === window ? [] : [{ record: records.requests(long), expr: mean(records.requests(window)) }]),
      { record: records.errorRatio(long), expr: ratio(records.errors, records.requests(window)) },
      { record: records.slowRatio(long), expr: ratio(records.slow, records.served) },
    ]
  }

/** The mean of a rate over 5 minutes, or the last one of it. */
const meanOver = (long: Window, record: string, scope: Scope): string =>
  long === window ? recorded(record, scope) : `avg_over_time(${recorded(record, scope)}[${long}])`

const replicaRules = (options: RuleOptions): RecordingRule[] => {
  const slice: Slice = { scope: ofJob(options), window, by: instance }
  return [
    { record: records.inFlightByInstance, expr: query.meanInFlight(slice) },
    { record: records.queued, expr: query.queueDepth(slice) },
    { record: records.eventLoop, expr: query.eventLoopUtilisation({ ...slice, by: [...instance, 'worker'] }) },
    { record: records.eventLoopDelay, expr: query.eventLoopDelay(0.99, slice) },
    { record: records.throttled, expr: query.cpuThrottledShare(slice) },
    { record: records.garbageCollection, expr: query.gcShare(slice) },
    { record: records.poolPending, expr: query.poolPending(slice) },
    { record: records.threadsQueued, expr: query.threadQueueDepth(slice) },
    ...saturationRules(slice),
  ]
}

const saturationRules = (slice: Slice): RecordingRule[] => [
  ...Object.entries(query.saturations).map(([resource, saturation]) => ({
    record: records.saturation,
    expr: saturation(slice),
    labels: { resource },
  })),
  { record: records.fullest, expr: `max by (job, instance) (${recorded(records.saturation, slice.scope)})` },
  { record: records.nearestLimit, expr: `topk by (job, instance) (1, ${recorded(records.saturation, slice.scope)})` },
]
