import { defaultOptions } from './options.ts'
import {
  aggregate,
  bucketsOf,
  countOf,
  labelled,
  quantileOf,
  type Scope,
  select,
  share,
  type Slice,
  sumOf,
  sumOfRates,
  upTo,
} from './promql.ts'

const requests = 'http_server_request_duration_seconds'
/** Answers that say that the service failed its user. Refusals are 503 and among them. */
const failed: Scope = 'http_response_status_class="5xx"'
const notFailed: Scope = 'http_response_status_class!="5xx"'

/** Made-up paths are nobody's requests: a scanner's many 404 must not water down the share of errors. */
export const ofRoutes: Scope = 'http_route!="unmatched"'
/** What the SLO's time is for: an upload or download takes as long as its client's line. */
export const answeredAtOnce: Scope = 'http_route!~"unmatched|/uploads(/.*)?"'

/** Requests per second. */
export const requestRate = (slice: Slice, ...scopes: readonly Scope[]): string =>
  sumOfRates(countOf(requests, slice.scope, ...scopes), slice)

/** Requests per second that ended in a 5xx. */
export const errorRate = (slice: Slice): string => requestRate(slice, failed)

/** The share of requests of routes that ended in a 5xx, refusals included: 0 to 1. NaN without requests. */
export const errorRatio = (slice: Slice): string =>
  share(requestRate(slice, ofRoutes, failed), requestRate(slice, ofRoutes))

/** A quantile of the time that requests took, in seconds. */
export const latencyQuantile = (q: number, slice: Slice): string => quantileOf(q, requests, slice)

/**
 * The share of requests without a server error that were answered within the SLO: 0 to 1. Errors are left out: they are
 * the matter of `errorRatio`, and a refusal within a millisecond must not count as a quick answer. A service that has
 * another SLO_MS than this has no such bucket: no data then, rather than a figure that is wrong.
 */
export const sloRatio = (slice: Slice, sloMs = defaultOptions.sloMs): string => {
  const inTime = sumOfRates(bucketsOf(requests, slice.scope, answeredAtOnce, notFailed, upTo(sloMs / 1_000)), slice)
  return `${inTime} / ${requestRate(slice, answeredAtOnce, notFailed)}`
}

/** What is left of `sloRatio` to 1: the share of requests without a server error that took longer. */
export const slowRatio = (slice: Slice, sloMs = defaultOptions.sloMs): string => `1 - ${sloRatio(slice, sloMs)}`

/**
 * How many times faster than allowed an error budget is used up: 1 spends exactly all of it over the period of the SLO.
 * Google, The Site Reliability Workbook, chapter 5.
 */
export const burnRate = (badRatio: string, objective: number): string => `(${badRatio}) / (1 - ${objective})`

/** Mean number of requests that were not answered yet, exact for any scrape interval: the rate of an integral. */
export const meanInFlight = (slice: Slice): string =>
  sumOfRates(select('plimsoll_requests_seconds_total', slice.scope), slice)

/** Mean number of requests that were admitted and at work. */
export const meanAdmitted = (slice: Slice): string =>
  sumOfRates(select('plimsoll_admission_in_flight_seconds_total', slice.scope), slice)

/** Mean number of requests that waited for admission. */
export const queueDepth = (slice: Slice): string =>
  sumOfRates(select('plimsoll_admission_queued_seconds_total', slice.scope), slice)

/** The share of slots of admission that were in use: 0 to 1. */
export const admissionSaturation = (slice: Slice): string =>
  `${meanAdmitted(slice)} / ${aggregate('sum', slice.by, select('plimsoll_admission_limit', slice.scope))}`

/** Refusals per second. */
export const refusalRate = (slice: Slice): string =>
  sumOfRates(select('plimsoll_admission_refused_total', slice.scope), slice)

/** The share of time that the event loops of the slice were active: 0 to 1. One thread cannot do more than 1. */
export const eventLoopUtilisation = (slice: Slice): string => {
  const time = 'nodejs_eventloop_time_seconds_total'
  const active = sumOfRates(select(time, slice.scope, 'nodejs_eventloop_state="active"'), slice)
  return `${active} / ${sumOfRates(select(time, slice.scope), slice)}`
}

/** A quantile of how late the event loop was, in seconds. */
export const eventLoopDelay = (q: number, slice: Slice): string =>
  quantileOf(q, 'plimsoll_eventloop_delay_seconds', slice)

/** The share of connections of the pool that were in use: 0 to 1. */
export const poolSaturation = (slice: Slice): string => {
  const used = sumOfRates(select('plimsoll_db_connections_used_seconds_total', slice.scope), slice)
  return `${used} / ${aggregate('sum', slice.by, select('plimsoll_db_connections_max', slice.scope))}`
}

/** Mean number of requests that waited for a connection of the pool. */
export const poolPending = (slice: Slice): string =>
  sumOfRates(select('plimsoll_db_connections_pending_seconds_total', slice.scope), slice)

/** The share of threads for CPU work that were at work: 0 to 1. */
export const threadSaturation = (slice: Slice): string => {
  const busy = sumOfRates(select('plimsoll_threads_busy_seconds_total', slice.scope), slice)
  return `${busy} / ${aggregate('sum', slice.by, select('plimsoll_threads', slice.scope))}`
}

/** Mean number of tasks that waited for a thread. */
export const threadQueueDepth = (slice: Slice): string =>
  sumOfRates(select('plimsoll_threads_queued_seconds_total', slice.scope), slice)

/** Cores in use by the processes of the replica. */
export const cpuCores = (slice: Slice): string => sumOfRates(select('process_cpu_seconds_total', slice.scope), slice)

/** CPU time of the container as a share of its limit: 0 to 1. No data where there is no limit. */
export const cpuSaturation = (slice: Slice): string => {
  const used = sumOfRates(select('plimsoll_cgroup_cpu_seconds_total', slice.scope), slice)
  return `${used} / ${aggregate('sum', slice.by, select('plimsoll_cgroup_cpu_limit_cores', slice.scope))}`
}

/** The share of the periods of the CPU limit in which the container was stopped: 0 to 1. */
export const cpuThrottledShare = (slice: Slice): string => {
  const stopped = sumOfRates(select('plimsoll_cgroup_cpu_throttled_periods_total', slice.scope), slice)
  return `${stopped} / ${sumOfRates(select('plimsoll_cgroup_cpu_periods_total', slice.scope), slice)}`
}

/** Memory of the container as a share of its limit: 0 to 1. No data where there is no limit. */
export const memorySaturation = ({ scope, by }: Omit<Slice, 'window'>): string => {
  const used = aggregate('sum', by, select('plimsoll_cgroup_memory_bytes', scope))
  return `${used} / ${aggregate('sum', by, select('plimsoll_cgroup_memory_limit_bytes', scope))}`
}

/** The fullest heap of the slice as a share of its limit: 0 to 1. Each worker has a heap of its own. */
export const heapSaturation = ({ scope, by }: Omit<Slice, 'window'>): string =>
  aggregate(
    'max',
    by,
    `${select('v8js_memory_heap_used_bytes', scope)} / ${select('v8js_memory_heap_limit_bytes', scope)}`,
  )

/** Open file descriptors as a share of what is allowed: 0 to 1. */
export const fdSaturation = ({ scope, by }: Omit<Slice, 'window'>): string => {
  const open = aggregate('sum', by, select('process_open_fds', scope))
  return `${open} / ${aggregate('sum', by, select('process_max_fds', scope))}`
}

/** The share of time that went into garbage collection, of the worker where it is greatest: 0 to 1. */
export const gcShare = ({ scope, window, by = [] }: Slice): string => {
  const byWorker = [...new Set([...by, 'instance', 'worker'])]
  return aggregate('max', by, sumOfRates(sumOf('v8js_gc_duration_seconds', scope), { window, by: byWorker }))
}

/** Utilisation of the event loop that is busiest, of those that the labels of the slice do not keep apart. */
export const busiestEventLoop = ({ by = [], ...slice }: Slice): string => {
  const byWorker = [...new Set([...by, 'instance', 'worker'])]
  return aggregate('max', by, eventLoopUtilisation({ ...slice, by: byWorker }))
}

/** The resources of a replica that have a limit, each as a share of it: 1 is full. */
export const saturations = {
  'event loop': busiestEventLoop,
  cpu: cpuSaturation,
  admission: admissionSaturation,
  threads: threadSaturation,
  'connection pool': poolSaturation,
  memory: memorySaturation,
  heap: heapSaturation,
  'file descriptors': fdSaturation,
} as const satisfies Readonly<Record<string, (slice: Slice) => string>>

export type LimitedResource = keyof typeof saturations

/** All saturations, told apart by the label `resource`. What has no limit has no series. */
export const everySaturation = (slice: Slice): string =>
  Object.entries(saturations)
    .map(([resource, saturation]) => labelled('resource', resource, saturation(slice)))
    .join(' or ')

/** How full the resource is that is nearest to its limit: the one that ends growth first. */
export const nearestLimit = (slice: Slice): string => aggregate('max', slice.by, everySaturation(slice))

/**
 * How many replicas each metric of an HPA asks for, as kube-state-metrics shows them: the core of the controller's rule,
 * ceil(current x value / target). Left out: tolerance, pods that are not ready, stabilisation and limits of `behavior`.
 * https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/#algorithm-details
 */
export const hpaWants = (hpa: Scope): string => {
  const owner = ['namespace', 'horizontalpodautoscaler']
  const metric = [...owner, 'metric_name', 'metric_target_type']
  const value = aggregate('max', metric, select('kube_horizontalpodautoscaler_status_target_metric', hpa))
  const target = aggregate('max', metric, select('kube_horizontalpodautoscaler_spec_target_metric', hpa))
  const current = aggregate('max', owner, select('kube_horizontalpodautoscaler_status_current_replicas', hpa))
  return `ceil(${value} / ${target} * on (${owner.join(', ')}) group_left () ${current})`
}
