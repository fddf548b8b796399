import type { ObservabilityOptions } from '../options.ts'
import { aggregate, bucketsOf, meanOf, quantileOf, select, share, sumOfRates, type Slice } from '../promql.ts'
import { burnRate, errorRatio, latencyQuantile, meanInFlight, refusalRate, requestRate, sloRatio } from '../queries.ts'
import { records } from '../rules/recording.ts'
import { recorded } from '../rules/rule.ts'
import type { Window } from '../rules/windows.ts'
import type { Meaning } from './colours.ts'
import type { Dashboard } from './dashboard.ts'
import type { Panel, Query, Threshold } from './panel.ts'
import { allTraces, tracesOfRoute } from './traces.ts'
import { chosen, dataSources, jobAndInstance } from './variables.ts'

const window = '$__rate_interval'
const all: Slice = { scope: chosen, window }
const by = (...labels: string[]): Slice => ({ ...all, by: labels })

/** Rate, errors and duration of requests, and how they stand to the SLO. */
export const serviceDashboard = (options: ObservabilityOptions): Dashboard => ({
  uid: 'plimsoll-service',
  title: 'Plimsoll / Service',
  description: 'What users get: rate, errors and duration of requests, against the SLO.',
  variables: [...dataSources(options.traces), ...jobAndInstance('http_server_active_requests', options.job)],
  starts: select('process_start_time_seconds', chosen),
  links: [allTraces(options.traces)],
  rows: [
    { title: 'Service level', panels: [...headlines(options), ...burning(options)] },
    { title: 'Rate', panels: rates },
    { title: 'Errors', panels: errors },
    { title: 'Duration', panels: durations(options) },
    { title: 'What requests wait for', panels: dependencies },
  ],
})

const sloQuery: Query = {
  expr: aggregate('max', [], select('plimsoll_slo_seconds', chosen)),
  legend: 'SLO',
  meaning: 'limit',
}

const headlines = (options: ObservabilityOptions): readonly Panel[] => [
  {
    kind: 'number',
    title: 'Requests',
    description: 'Requests per second over all chosen instances, refused ones included.',
    unit: 'reqps',
    queries: [{ expr: requestRate(all), legend: 'requests' }],
  },
  {
    kind: 'number',
    title: 'Errors',
    description:
      'Share of requests that ended in a 5xx. Refusals are 503 and count: the user was not served. Paths without a route do not count.',
    unit: 'percentunit',
    queries: [{ expr: errorRatio(all), legend: 'errors' }],
    thresholds: [
      [budgetOf(options.sloObjective), 'slow'],
      [10 * budgetOf(options.sloObjective), 'error'],
    ],
  },
  {
    kind: 'number',
    title: 'Within the SLO',
    description: `Share of requests without a server error that were answered within ${options.sloMs} ms; uploads are left out.`,
    unit: 'percentunit',
    queries: [{ expr: sloRatio(all, options.sloMs), legend: 'within the SLO' }],
    thresholds: above(options.latencyObjective),
  },
  {
    kind: 'number',
    title: '99th percentile',
    description: '99 % of all requests took no longer than this; from the merged histograms of all chosen instances.',
    unit: 's',
    queries: [{ expr: latencyQuantile(0.99, all), legend: 'p99' }],
    thresholds: [[options.sloMs / 1_000, 'slow']],
  },
  {
    kind: 'number',
    title: 'In flight',
    description: "Mean number of requests that were not answered yet. By Little's law it is rate x mean duration.",
    unit: 'short',
    queries: [{ expr: meanInFlight(all), legend: 'in flight' }],
  },
  {
    kind: 'number',
    title: 'Ready replicas',
    description: 'Instances that take traffic.',
    unit: 'short',
    queries: [{ expr: aggregate('sum', [], select('plimsoll_ready', chosen)), legend: 'ready' }],
    thresholds: [
      [0, 'error'],
      [1, 'ok'],
    ],
  },
]

/** What an objective leaves for errors, without the noise of subtracting numbers that are nearly alike. */
const budgetOf = (objective: number): number => Number((1 - objective).toFixed(9))

/** Thresholds of a share that should be high: bad from 0, slow from nine tenths of the way, good from the objective. */
const above = (objective: number): readonly Threshold[] => [
  [0, 'error'],
  [Math.max(0, 1 - 10 * budgetOf(objective)), 'slow'],
  [objective, 'ok'],
]

/** The rates at which alerts go off: https://sre.google/workbook/alerting-on-slos/ */
const burnThresholds: readonly Threshold[] = [
  [1, 'slow'],
  [14.4, 'error'],
]
const burnWindows = ['5m', '1h', '6h', '3d'] as const satisfies readonly Window[]

const burning = ({ sloObjective, sloMs, latencyObjective }: ObservabilityOptions): readonly Panel[] => [
  burnPanel({
    title: 'Error budget burn: availability',
    objective: `${percent(sloObjective)} of requests without a 5xx`,
    burn: (window) => burnRate(recorded(records.errorRatio(window), 'job=~"$job"'), sloObjective),
  }),
  burnPanel({
    title: 'Error budget burn: latency',
    objective: `${percent(latencyObjective)} of requests within ${sloMs} ms`,
    burn: (window) => burnRate(recorded(records.slowRatio(window), 'job=~"$job"'), latencyObjective),
  }),
]

const percent = (share: number): string => `${Number((share * 100).toFixed(6))} %`

type BurnPanel = {
  readonly title: string
  readonly objective: string
  readonly burn: (window: Window) => string
}

/** Of the recorded ratios, which alerts look at, too: to read days of raw series each time would be slow. */
const burnPanel = ({ title, objective, burn }: BurnPanel): Panel => ({
  kind: 'lines',
  title,
  description:
    `How fast the error budget of "${objective}" is used up: at 1 it lasts exactly for the period of the SLO, at 14.4 it ` +
    'loses 2 % of a 30 days budget in an hour. Both a short and a long window high: act now. Only the long one: it is over. ' +
    'Needs the recording rules; of all instances of the job.',
  unit: 'short',
  width: 12,
  queries: burnWindows.map((window) => ({ expr: burn(window), legend: window })),
  thresholds: burnThresholds,
})

const classMeanings: Readonly<Record<string, Meaning>> = {
  '^2xx': 'ok',
  '^3xx': 'second',
  '^4xx': 'slow',
  '^5xx': 'error',
}

const rates: readonly Panel[] = [
  {
    kind: 'stacked',
    title: 'Requests by status class',
    description: 'Requests per second by the class of their status.',
    unit: 'reqps',
    width: 12,
    queries: [{ expr: requestRate(by('http_response_status_class')), legend: '{{http_response_status_class}}' }],
    meanings: classMeanings,
  },
  {
    kind: 'lines',
    title: 'Requests by route',
    description: 'Requests per second by route and method. All paths without a route are one series, `unmatched`.',
    unit: 'reqps',
    width: 12,
    queries: [
      {
        expr: requestRate(by('http_request_method', 'http_route')),
        legend: '{{http_request_method}} {{http_route}}',
      },
    ],
  },
]

const errors: readonly Panel[] = [
  {
    kind: 'stacked',
    title: 'Problems by code',
    description:
      'Answers outside 2xx and 3xx per second by the code in their problem document; see /problems of the service.',
    unit: 'reqps',
    queries: [{ expr: sumOfRates(select('plimsoll_problems_total', chosen), by('code')), legend: '{{code}}' }],
    meanings: { '^internal-error$': 'error', '^overloaded$': 'slow' },
  },
  {
    kind: 'lines',
    title: 'Share of server errors by route',
    description: 'Share of the requests of each route that ended in a 5xx.',
    unit: 'percentunit',
    queries: [{ expr: errorRatio(by('http_route')), legend: '{{http_route}}' }],
  },
  {
    kind: 'stacked',
    title: 'Refused to protect the others',
    description:
      'Requests per second that admission or the rate limit turned away. Sustained refusals by admission mean too few replicas.',
    unit: 'reqps',
    queries: [
      { expr: refusalRate(by('reason')), legend: 'admission: {{reason}}', meaning: 'slow' },
      {
        expr: sumOfRates(select('plimsoll_rate_limit_requests_total', chosen, 'decision="refused"'), by('decision')),
        legend: 'rate limit: {{decision}}',
        meaning: 'second',
      },
    ],
  },
]

const quantiles = [0.5, 0.9, 0.99, 0.999] as const

const durations = ({ sloMs, traces }: ObservabilityOptions): readonly Panel[] => [
  {
    kind: 'lines',
    title: 'Duration',
    description:
      'Percentiles over all chosen instances as one: buckets are added up, percentiles never averaged. Points are single ' +
      'requests; a click leads to their trace.',
    unit: 's',
    width: 12,
    queries: [
      ...quantiles.map(
        (q): Query => ({
          expr: latencyQuantile(q, all),
          legend: `p${q * 100}`,
          // Once: each query with exemplars would show the same points again.
          ...(q === 0.99 ? { exemplars: true } : {}),
        }),
      ),
      sloQuery,
    ],
  },
  {
    kind: 'heat map',
    title: 'Distribution of durations',
    description: 'How many requests took how long. Two bands are two kinds of requests, which a percentile hides.',
    unit: 's',
    width: 12,
    queries: [
      {
        expr: `sum by (le) (increase(${bucketsOf('http_server_request_duration_seconds', chosen)}[${window}]))`,
        legend: '{{le}}',
        exemplars: true,
      },
    ],
  },
  {
    kind: 'lines',
    title: '99th percentile by route',
    description: 'Which route is slow. A click on a series leads to the traces of its route.',
    unit: 's',
    width: 12,
    queries: [{ expr: latencyQuantile(0.99, by('http_route')), legend: '{{http_route}}', exemplars: true }, sloQuery],
    links: [tracesOfRoute(traces)],
  },
  {
    kind: 'lines',
    title: 'Share within the SLO by route',
    description: `Share of the requests of each route, without server errors, that were answered within ${sloMs} ms.`,
    unit: 'percentunit',
    width: 12,
    queries: [{ expr: sloRatio(by('http_route'), sloMs), legend: '{{http_route}}' }],
    links: [tracesOfRoute(traces)],
  },
]

const statements = 'db_client_operation_duration_seconds'
const attempts = 'http_client_request_duration_seconds'

const dependencies: readonly Panel[] = [
  {
    kind: 'lines',
    title: 'Statements: 99th percentile',
    description: 'Time from handing a statement to PostgreSQL until its answer, by statement.',
    unit: 's',
    queries: [{ expr: quantileOf(0.99, statements, by('db_query_summary')), legend: '{{db_query_summary}}' }],
  },
  {
    kind: 'lines',
    title: 'Statements: mean',
    description: 'Mean time of a statement. Far below the 99th percentile: a few statements are slow.',
    unit: 's',
    queries: [{ expr: meanOf(statements, by('db_query_summary')), legend: '{{db_query_summary}}' }],
  },
  {
    kind: 'lines',
    title: 'Database reachable',
    description: '1 while PostgreSQL answers, 0 while it does not; by instance.',
    unit: 'short',
    softMax: 1,
    queries: [
      { expr: aggregate('min', ['instance'], select('plimsoll_db_reachable', chosen)), legend: '{{instance}}' },
    ],
  },
  {
    kind: 'lines',
    title: 'Upstreams: 99th percentile of an attempt',
    description: 'Time of one attempt to call an upstream, whether it succeeded or not.',
    unit: 's',
    queries: [{ expr: quantileOf(0.99, attempts, by('upstream')), legend: '{{upstream}}' }],
  },
  {
    kind: 'stacked',
    title: 'Upstreams: calls by how they ended',
    description: 'Calls of upstreams per second. An open circuit (line at 1) turns calls away before they are made.',
    unit: 'short',
    queries: [
      {
        expr: sumOfRates(select('plimsoll_upstream_calls_total', chosen), by('upstream', 'status')),
        legend: '{{upstream}}: {{status}}',
      },
      {
        expr: aggregate('max', ['upstream'], select('plimsoll_upstream_breaker_open', chosen)),
        legend: '{{upstream}}: circuit open',
        meaning: 'limit',
      },
    ],
  },
  {
    kind: 'lines',
    title: 'Cache hits',
    description: 'Share of lookups that the cache in memory answered at once, by cache.',
    unit: 'percentunit',
    softMax: 1,
    queries: [
      {
        expr: share(
          sumOfRates(select('plimsoll_cache_lookups_total', chosen, 'result="hit"'), by('cache')),
          sumOfRates(select('plimsoll_cache_lookups_total', chosen), by('cache')),
        ),
        legend: '{{cache}}',
      },
    ],
  },
]
