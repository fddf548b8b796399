import type { Aggregation, MetricInfo } from '../kit/metrics.ts'

const counter = (help: string, ...labels: string[]): MetricInfo => ({ type: 'counter', help, labels })
const gauge = (help: string, ...labels: string[]): MetricInfo => ({ type: 'gauge', help, labels })
const histogram = (help: string, ...labels: string[]): MetricInfo => ({ type: 'histogram', help, labels })

/** A gauge of something that all workers have in common: their figures are not added up. */
const shared = (aggregation: Aggregation, help: string, ...labels: string[]): MetricInfo => ({
  ...gauge(help, ...labels),
  aggregation,
})

/**
 * Every metric of the service, by its name on the admin port. Where OpenTelemetry's semantic conventions have a stable
 * name for a thing, that is its name here, in the spelling that Prometheus makes of it; what the ecosystem expects of any
 * process keeps the names of Prometheus' clients; the rest begins with `plimsoll_`. A counter in `..._seconds_total` that is
 * called an integral grows by one each second for each of the things counted: its `rate()` is their exact mean number.
 */
export const serviceMetrics = {
  http_server_request_duration_seconds: histogram(
    'Time from the first look at a request until its answer was handed over whole.',
    'http_request_method',
    'http_route',
    'http_response_status_class',
  ),
  http_server_active_requests: gauge('Requests that are not answered yet, waiting ones included.'),
  plimsoll_requests_seconds_total: counter('Integral of the requests that are not answered yet.'),
  plimsoll_problems_total: counter('Answers outside 2xx and 3xx by their problem code.', 'code'),

  plimsoll_admission_limit: gauge('Requests that may be in flight at once.'),
  plimsoll_admission_in_flight: gauge('Admitted requests whose handler is at work.'),
  plimsoll_admission_in_flight_seconds_total: counter('Integral of the admitted requests whose handler is at work.'),
  plimsoll_admission_queued: gauge('Requests that wait for admission.'),
  plimsoll_admission_queued_seconds_total: counter('Integral of the requests that wait for admission.'),
  plimsoll_admission_queue_seconds: histogram('Time that requests waited for admission, admitted in the end or not.'),
  plimsoll_admission_accepted_total: counter('Requests that were admitted.'),
  plimsoll_admission_refused_total: counter('Requests that were refused to protect the others.', 'reason'),
  plimsoll_admission_withdrawn_total: counter('Requests whose client or deadline ended their wait for admission.'),
  plimsoll_rate_limit_requests_total: counter(
    'Requests by what the rate limit said: allowed, refused, or uncounted because its store does not answer.',
    'decision',
  ),
  plimsoll_rate_limit_clients: gauge('Clients whose rate is remembered by this process.'),

  db_client_operation_duration_seconds: histogram(
    'Time from handing a statement over until its answer. error_type is empty where there was no error.',
    'db_system_name',
    'db_query_summary',
    'error_type',
  ),
  plimsoll_db_connections: gauge('Connections of the pool for transactions and long statements.', 'state'),
  plimsoll_db_connections_max: gauge('Connections that the pool may have.'),
  plimsoll_db_connections_pending: gauge('Requests that wait for a connection of the pool.'),
  plimsoll_db_connection_wait_seconds: histogram('Time that requests waited for a connection of the pool.'),
  plimsoll_db_connection_timeouts_total: counter('Requests that got no connection of the pool in time.'),
  plimsoll_db_connections_used_seconds_total: counter('Integral of the connections of the pool that are in use.'),
  plimsoll_db_connections_pending_seconds_total: counter('Integral of the requests that wait for a connection.'),
  plimsoll_db_pipelined: gauge('Statements that are sent on the shared connections and not answered.'),
  plimsoll_db_reachable: shared('min', '1 while the database answers, otherwise 0; of several workers, all of them.'),

  plimsoll_threads: gauge('Threads for CPU work, as configured.'),
  plimsoll_threads_busy: gauge('Threads that are at work.'),
  plimsoll_threads_busy_seconds_total: counter('Integral of the threads that are at work.'),
  plimsoll_threads_queued: gauge('Tasks that wait for a thread.'),
  plimsoll_threads_queued_seconds_total: counter('Integral of the tasks that wait for a thread.'),
  plimsoll_threads_queue_seconds: histogram('Time that tasks waited for a thread.'),
  plimsoll_threads_tasks_total: counter('Tasks that threads have done to the end.'),

  plimsoll_cache_lookups_total: counter(
    'Keys looked up in the cache in memory: hit, stale or miss.',
    'cache',
    'result',
  ),
  plimsoll_cache_loads_total: counter('Loads of what the cache did not have, by their outcome.', 'cache', 'outcome'),
  plimsoll_cache_entries: gauge('Entries of the cache in memory.', 'cache'),

  plimsoll_upstream_calls_total: counter('Calls of upstreams by how they ended.', 'upstream', 'status'),
  plimsoll_upstream_attempts_total: counter('Attempts that calls of upstreams took.', 'upstream', 'kind'),
  plimsoll_upstream_breaker_open: shared(
    'max',
    '1 while the circuit of an upstream is not closed, otherwise 0; of several workers, in any of them.',
    'upstream',
  ),
  http_client_request_duration_seconds: histogram('Time of one attempt to call an upstream.', 'upstream', 'error_type'),

  nodejs_eventloop_time_seconds_total: counter(
    'Time of the event loop, idle or active. The rate of the active time is its utilisation.',
    'nodejs_eventloop_state',
    'worker',
  ),
  nodejs_eventloop_utilization_ratio: gauge('Share of the last seconds that the event loop was active.', 'worker'),
  plimsoll_eventloop_delay_seconds: histogram('How late the event loop came to what was due.', 'worker'),
  v8js_gc_duration_seconds: histogram('Time of garbage collections.', 'v8js_gc_type', 'worker'),
  v8js_memory_heap_used_bytes: gauge('Heap in use.', 'worker'),
  v8js_memory_heap_limit_bytes: gauge('Heap at which the process ends.', 'worker'),
  process_cpu_seconds_total: counter('CPU time of all processes of the replica, user and system.'),
  process_resident_memory_bytes: gauge('Memory of all processes of the replica in RAM.'),
  process_open_fds: gauge('Open file descriptors of all processes of the replica.'),
  process_max_fds: gauge('Open file descriptors that they may have.'),
  process_start_time_seconds: gauge(
    'Start of each process, the parent of workers included, in seconds since 1970.',
    'worker',
  ),

  plimsoll_cgroup_cpu_limit_cores: gauge('Cores that the container may use; absent where there is no limit.'),
  plimsoll_cgroup_cpu_seconds_total: counter('CPU time of the container.'),
  plimsoll_cgroup_cpu_periods_total: counter('Periods in which the CPU limit was looked at.'),
  plimsoll_cgroup_cpu_throttled_periods_total: counter('Periods in which the container was stopped by its CPU limit.'),
  plimsoll_cgroup_cpu_throttled_seconds_total: counter('Time for which the container was stopped by its CPU limit.'),
  plimsoll_cgroup_cpu_pressure_seconds_total: counter('Time in which some task of the container waited for a core.'),
  plimsoll_cgroup_memory_bytes: gauge('Memory of the container without file cache that can go.'),
  plimsoll_cgroup_memory_limit_bytes: gauge('Memory at which the container is killed; absent where there is no limit.'),
  plimsoll_cgroup_oom_kills_total: counter('Processes of the container that were killed for lack of memory.'),

  plimsoll_workers: gauge('Worker processes by state: running, or vacant until they are replaced.', 'state'),
  plimsoll_worker_restarts_total: counter('Worker processes that were replaced.'),
  plimsoll_worker_scrapes_missed_total: counter(
    'Scrapes that showed the last known figures of a worker that did not answer.',
  ),
  plimsoll_spans_total: counter('Spans by what became of them: exported, failed or dropped.', 'outcome'),
  plimsoll_log_lines_dropped_total: counter('Log lines that were left out: too many, or nobody read them.'),
  plimsoll_ready: shared('max', '1 while the replica takes traffic, otherwise 0.'),
  plimsoll_slo_seconds: shared(
    'max',
    'The time in which a request should be answered; a bucket of the request duration ends here.',
  ),
  plimsoll_build_info: shared('max', '1, with what was built and runs.', 'version', 'revision', 'node'),
} as const satisfies Readonly<Record<string, MetricInfo>>

export type ServiceMetricName = keyof typeof serviceMetrics

const seconds = (...bounds: number[]): readonly number[] => Object.freeze(bounds)

/**
 * Upper bounds of histograms, in seconds. Those of requests and of statements are the semantic conventions':
 * https://opentelemetry.io/docs/specs/semconv/http/http-metrics/ and .../database/database-metrics/
 */
export const bounds = {
  request: seconds(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
  statement: seconds(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10),
  wait: seconds(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
  eventLoopDelay: seconds(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
  gc: seconds(0.01, 0.1, 1, 10),
} as const

/** The bounds of requests, and one where the SLO is. */
export const requestBounds = (sloMs: number): readonly number[] =>
  [...new Set([...bounds.request, sloMs / 1_000])].sort((a, b) => a - b)

/** The label of requests that no route matched, whatever their path was: made-up paths must not make up series. */
export const unmatchedRoute = 'unmatched'
