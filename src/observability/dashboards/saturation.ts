import type { ObservabilityOptions } from '../options.ts'
import { aggregate, bucketsOf, quantileOf, select, type Slice, sumOf, sumOfRates } from '../promql.ts'
import {
  cpuCores,
  cpuThrottledShare,
  eventLoopDelay,
  eventLoopUtilisation,
  everySaturation,
  gcShare,
  meanAdmitted,
  nearestLimit,
  poolPending,
  queueDepth,
  refusalRate,
  threadQueueDepth,
} from '../queries.ts'
import type { Dashboard } from './dashboard.ts'
import type { Panel, Threshold } from './panel.ts'
import { allTraces } from './traces.ts'
import { chosen, dataSources, jobAndInstance } from './variables.ts'

const window = '$__rate_interval'
const all: Slice = { scope: chosen, window }
const by = (...labels: string[]): Slice => ({ ...all, by: labels })
const each = by('instance')
const worker = by('instance', 'worker')

/** What a replica has of each resource, and how much of that is in use. Made to be read with one instance chosen. */
export const saturationDashboard = ({ traces, job }: ObservabilityOptions): Dashboard => ({
  uid: 'plimsoll-saturation',
  title: 'Plimsoll / Saturation of a replica',
  description:
    'Which limit a replica meets first: event loop, CPU, threads, connections, admission, memory. Choose one instance.',
  variables: [...dataSources(traces), ...jobAndInstance('http_server_active_requests', job)],
  starts: select('process_start_time_seconds', chosen),
  links: [allTraces(traces)],
  rows: [
    { title: 'Which limit is nearest', panels: limits },
    { title: 'Event loop', panels: eventLoop },
    { title: 'CPU', panels: cpu },
    { title: 'Admission', panels: admission },
    { title: 'Threads and connections', panels: pools },
    { title: 'Memory and descriptors', panels: memory },
    { title: 'Processes and telemetry', panels: processes },
  ],
})

const fullness: readonly Threshold[] = [
  [0.7, 'slow'],
  [0.9, 'error'],
]

const limits: readonly Panel[] = [
  {
    kind: 'bars',
    title: 'Share of each limit in use',
    description:
      'Each resource as a share of its limit, of the fullest chosen instance. The longest bar ends growth first; a resource ' +
      'without a limit (no CPU or memory limit on the container, no database) has no bar.',
    unit: 'percentunit',
    queries: [{ expr: aggregate('max', ['resource'], everySaturation(each)), legend: '{{resource}}' }],
    thresholds: fullness,
  },
  {
    kind: 'lines',
    title: 'Share of each limit over time',
    description: 'The same over time: what rises together with the load is what has to be scaled.',
    unit: 'percentunit',
    softMax: 1,
    queries: [{ expr: aggregate('max', ['resource'], everySaturation(each)), legend: '{{resource}}' }],
    thresholds: fullness,
  },
  {
    kind: 'lines',
    title: 'Nearest limit by instance',
    description:
      'How full the fullest resource of each instance is. Instances far apart: the load is not spread evenly.',
    unit: 'percentunit',
    softMax: 1,
    queries: [{ expr: nearestLimit(each), legend: '{{instance}}' }],
    thresholds: fullness,
  },
]

const eventLoop: readonly Panel[] = [
  {
    kind: 'lines',
    title: 'Event loop utilisation',
    description:
      'Share of time that the loop of each worker was active. Waiting grows steeply above 0.7; it cannot exceed 1.',
    unit: 'percentunit',
    softMax: 1,
    queries: [
      { expr: eventLoopUtilisation(worker), legend: '{{instance}} worker {{worker}}' },
      {
        expr: aggregate('max', ['instance'], select('nodejs_eventloop_utilization_ratio', chosen)),
        legend: '{{instance}} last seconds',
        meaning: 'second',
      },
    ],
    thresholds: fullness,
  },
  {
    kind: 'lines',
    title: 'Event loop delay',
    description:
      'How late the loop came to what was due. High at a low utilisation: single long tasks hold it (blocking work, large JSON, GC).',
    unit: 's',
    queries: [
      { expr: eventLoopDelay(0.5, each), legend: '{{instance}} p50', meaning: 'ok' },
      { expr: eventLoopDelay(0.99, each), legend: '{{instance}} p99', meaning: 'slow' },
    ],
  },
  {
    kind: 'heat map',
    title: 'Distribution of event loop delays',
    description: 'How often the loop was how late; rare long stalls show as single cells far up.',
    unit: 's',
    queries: [
      {
        expr: `sum by (le) (increase(${bucketsOf('plimsoll_eventloop_delay_seconds', chosen)}[${window}]))`,
        legend: '{{le}}',
      },
    ],
  },
]

const cpu: readonly Panel[] = [
  {
    kind: 'lines',
    title: 'CPU against the limit',
    description:
      'Cores in use by the processes of the replica, by its whole container, and the limit of the container. More than one core ' +
      'is possible: GC, compilation and threads run beside the loop.',
    unit: 'suffix: cores',
    queries: [
      { expr: cpuCores(each), legend: '{{instance}} processes', meaning: 'usual' },
      {
        expr: sumOfRates(select('plimsoll_cgroup_cpu_seconds_total', chosen), each),
        legend: '{{instance}} container',
        meaning: 'second',
      },
      {
        expr: aggregate('sum', ['instance'], select('plimsoll_cgroup_cpu_limit_cores', chosen)),
        legend: '{{instance}} limit',
        meaning: 'limit',
      },
    ],
  },
  {
    kind: 'lines',
    title: 'CPU throttling',
    description:
      'Share of periods in which the container was stopped because its CPU limit was used up. Each stop adds up to 100 ms to every ' +
      'request in flight: raise or remove the limit.',
    unit: 'percentunit',
    queries: [{ expr: cpuThrottledShare(each), legend: '{{instance}}' }],
    thresholds: [
      [0.01, 'slow'],
      [0.25, 'error'],
    ],
  },
  {
    kind: 'lines',
    title: 'Waiting for a core',
    description:
      'Share of time that the container was stopped by its limit, and in which some of its tasks waited for a core. Waiting without ' +
      'throttling: the node is full.',
    unit: 'percentunit',
    queries: [
      {
        expr: sumOfRates(select('plimsoll_cgroup_cpu_throttled_seconds_total', chosen), each),
        legend: '{{instance}} throttled',
        meaning: 'error',
      },
      {
        expr: sumOfRates(select('plimsoll_cgroup_cpu_pressure_seconds_total', chosen), each),
        legend: '{{instance}} waiting',
        meaning: 'slow',
      },
    ],
  },
]

const admission: readonly Panel[] = [
  {
    kind: 'lines',
    title: 'Requests at work against the limit',
    description:
      'Mean number of admitted requests and the limit of admission. In flight is exact for any scrape interval: the rate of an integral.',
    unit: 'short',
    queries: [
      { expr: meanAdmitted(each), legend: '{{instance}} at work', meaning: 'usual' },
      {
        expr: aggregate('sum', ['instance'], select('plimsoll_admission_limit', chosen)),
        legend: '{{instance}} limit',
        meaning: 'limit',
      },
    ],
  },
  {
    kind: 'lines',
    title: 'Requests waiting for admission',
    description: 'Mean number that waited, and now. More than none for long: the replica has more than it can serve.',
    unit: 'short',
    queries: [
      { expr: queueDepth(each), legend: '{{instance}} mean', meaning: 'usual' },
      {
        expr: aggregate('sum', ['instance'], select('plimsoll_admission_queued', chosen)),
        legend: '{{instance}} now',
        meaning: 'second',
      },
    ],
  },
  {
    kind: 'lines',
    title: 'Time in the admission queue',
    description: 'Of the requests that waited: how long, whether they were admitted in the end or not.',
    unit: 's',
    queries: [
      { expr: quantileOf(0.5, 'plimsoll_admission_queue_seconds', each), legend: '{{instance}} p50', meaning: 'ok' },
      { expr: quantileOf(0.99, 'plimsoll_admission_queue_seconds', each), legend: '{{instance}} p99', meaning: 'slow' },
    ],
  },
  {
    kind: 'stacked',
    title: 'Admitted, refused, withdrawn',
    description:
      'Requests per second by what admission did with them. Withdrawn: the client or its deadline ended the wait.',
    unit: 'reqps',
    width: 24,
    queries: [
      {
        expr: sumOfRates(select('plimsoll_admission_accepted_total', chosen), each),
        legend: '{{instance}} admitted',
        meaning: 'ok',
      },
      { expr: refusalRate(by('instance', 'reason')), legend: '{{instance}} refused: {{reason}}', meaning: 'error' },
      {
        expr: sumOfRates(select('plimsoll_admission_withdrawn_total', chosen), each),
        legend: '{{instance}} withdrawn',
        meaning: 'slow',
      },
    ],
  },
]

const pools: readonly Panel[] = [
  {
    kind: 'lines',
    title: 'Threads at work and tasks waiting',
    description:
      'Mean number of threads for CPU work that were busy, of tasks that waited for one, and how many threads there are.',
    unit: 'short',
    queries: [
      {
        expr: sumOfRates(select('plimsoll_threads_busy_seconds_total', chosen), each),
        legend: '{{instance}} busy',
        meaning: 'usual',
      },
      { expr: threadQueueDepth(each), legend: '{{instance}} waiting', meaning: 'slow' },
      {
        expr: aggregate('sum', ['instance'], select('plimsoll_threads', chosen)),
        legend: '{{instance}} threads',
        meaning: 'limit',
      },
    ],
  },
  {
    kind: 'lines',
    title: 'Connections in use and requests waiting',
    description:
      'Mean number of connections of the pool in use, of requests that waited for one, and how many connections there may be. Only ' +
      'transactions and long statements use the pool; the others share pipelined connections.',
    unit: 'short',
    queries: [
      {
        expr: sumOfRates(select('plimsoll_db_connections_used_seconds_total', chosen), each),
        legend: '{{instance}} in use',
        meaning: 'usual',
      },
      { expr: poolPending(each), legend: '{{instance}} waiting', meaning: 'slow' },
      {
        expr: aggregate('sum', ['instance'], select('plimsoll_db_connections_max', chosen)),
        legend: '{{instance}} connections',
        meaning: 'limit',
      },
      {
        expr: aggregate('sum', ['instance'], select('plimsoll_db_pipelined', chosen)),
        legend: '{{instance}} pipelined statements',
        meaning: 'second',
      },
    ],
  },
  {
    kind: 'lines',
    title: 'Time waited for a thread or a connection',
    description: '99th percentile of the wait for a thread and for a connection of the pool.',
    unit: 's',
    queries: [
      {
        expr: quantileOf(0.99, 'plimsoll_threads_queue_seconds', each),
        legend: '{{instance}} thread',
        meaning: 'usual',
      },
      {
        expr: quantileOf(0.99, 'plimsoll_db_connection_wait_seconds', each),
        legend: '{{instance}} connection',
        meaning: 'second',
      },
    ],
  },
]

const memory: readonly Panel[] = [
  {
    kind: 'lines',
    title: 'Memory against the limit',
    description:
      'Memory of all processes, of the container without file cache that can go, and the limit at which it is killed.',
    unit: 'bytes',
    queries: [
      {
        expr: aggregate('sum', ['instance'], select('process_resident_memory_bytes', chosen)),
        legend: '{{instance}} RSS',
        meaning: 'usual',
      },
      {
        expr: aggregate('sum', ['instance'], select('plimsoll_cgroup_memory_bytes', chosen)),
        legend: '{{instance}} container',
        meaning: 'second',
      },
      {
        expr: aggregate('sum', ['instance'], select('plimsoll_cgroup_memory_limit_bytes', chosen)),
        legend: '{{instance}} limit',
        meaning: 'limit',
      },
    ],
  },
  {
    kind: 'lines',
    title: 'Heap against the limit',
    description: 'Heap of each worker and where the process ends. A floor that rises between collections is a leak.',
    unit: 'bytes',
    queries: [
      {
        expr: aggregate('max', ['instance', 'worker'], select('v8js_memory_heap_used_bytes', chosen)),
        legend: '{{instance}} worker {{worker}}',
        meaning: 'usual',
      },
      {
        expr: aggregate('max', ['instance', 'worker'], select('v8js_memory_heap_limit_bytes', chosen)),
        legend: '{{instance}} worker {{worker}} limit',
        meaning: 'limit',
      },
    ],
  },
  {
    kind: 'stacked',
    title: 'Time in garbage collection',
    description:
      'Share of time in garbage collection by kind, of all workers together, and of the worker that has most of it.',
    unit: 'percentunit',
    queries: [
      {
        expr: sumOfRates(sumOf('v8js_gc_duration_seconds', chosen), by('v8js_gc_type')),
        legend: '{{v8js_gc_type}}',
      },
      { expr: gcShare(all), legend: 'worst worker', meaning: 'limit' },
    ],
  },
  {
    kind: 'lines',
    title: 'File descriptors',
    description: 'Open file descriptors of all processes and how many they may have. Sockets are descriptors.',
    unit: 'short',
    width: 12,
    queries: [
      {
        expr: aggregate('sum', ['instance'], select('process_open_fds', chosen)),
        legend: '{{instance}} open',
        meaning: 'usual',
      },
      {
        expr: aggregate('sum', ['instance'], select('process_max_fds', chosen)),
        legend: '{{instance}} limit',
        meaning: 'limit',
      },
    ],
  },
  {
    kind: 'lines',
    title: 'Killed for lack of memory',
    description:
      'Processes of the container that the kernel killed, in the time shown. Any is too many: raise the limit or lower the load.',
    unit: 'short',
    width: 12,
    queries: [
      {
        expr: aggregate(
          'sum',
          ['instance'],
          `increase(${select('plimsoll_cgroup_oom_kills_total', chosen)}[$__range])`,
        ),
        legend: '{{instance}}',
        meaning: 'error',
      },
    ],
  },
]

const processes: readonly Panel[] = [
  {
    kind: 'lines',
    title: 'Workers',
    description:
      'Worker processes by state, and how many were replaced in the time shown. A vacant place is filled within 2 s.',
    unit: 'short',
    queries: [
      {
        expr: aggregate('sum', ['instance', 'state'], select('plimsoll_workers', chosen)),
        legend: '{{instance}} {{state}}',
      },
      {
        expr: aggregate('sum', ['instance'], `increase(${select('plimsoll_worker_restarts_total', chosen)}[$__range])`),
        legend: '{{instance}} replaced',
        meaning: 'error',
      },
    ],
  },
  {
    kind: 'stacked',
    title: 'Spans by what became of them',
    description: 'Spans per second. Failed: the collector did not take them. Dropped: there was no room to keep them.',
    unit: 'ops',
    queries: [{ expr: sumOfRates(select('plimsoll_spans_total', chosen), by('outcome')), legend: '{{outcome}}' }],
    meanings: { '^exported$': 'ok', '^failed$': 'slow', '^dropped$': 'error' },
  },
  {
    kind: 'lines',
    title: 'What telemetry left out',
    description:
      'Log lines per second that were left out, and scrapes that show the last known figures of a worker that did not answer.',
    unit: 'ops',
    queries: [
      {
        expr: sumOfRates(select('plimsoll_log_lines_dropped_total', chosen), each),
        legend: '{{instance}} log lines',
        meaning: 'slow',
      },
      {
        expr: sumOfRates(select('plimsoll_worker_scrapes_missed_total', chosen), each),
        legend: '{{instance}} scrapes',
        meaning: 'error',
      },
    ],
  },
]
