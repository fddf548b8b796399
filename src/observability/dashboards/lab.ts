import type { LoadMetricName } from '../../contract/load-metrics.ts'
import type { ObservabilityOptions } from '../options.ts'
import { aggregate, bucketsOf, quantileOf, select, share, type Slice, sumOfRates } from '../promql.ts'
import type { Dashboard } from './dashboard.ts'
import type { Panel, Query } from './panel.ts'
import { allTraces } from './traces.ts'
import { chosen, dataSources, jobAndInstance } from './variables.ts'

const window = '$__rate_interval'
const all: Slice = { scope: chosen, window }
const latency = 'plimsoll_load_latency_seconds'
const service = 'plimsoll_load_service_seconds'
const lag = 'plimsoll_load_send_lag_seconds'

const rateOf = (metric: LoadMetricName): string => sumOfRates(select(metric, chosen), all)

/** Runs of `plimsoll load --metrics-port`, while they go on. */
export const labDashboard = ({ traces, sloMs }: ObservabilityOptions): Dashboard => ({
  uid: 'plimsoll-lab',
  title: 'Plimsoll / Load runs',
  description:
    'A load run as it goes on: the rate that was asked for and achieved, latency from the intended start, and whether the generator kept up.',
  variables: [...dataSources(traces), ...jobAndInstance('plimsoll_load_run_info')],
  links: [allTraces(traces)],
  rows: [
    { title: 'The run', panels: headlines },
    { title: 'Load', panels: load },
    { title: 'Latency', panels: latencies(sloMs) },
    { title: 'May it be trusted?', panels: trust },
  ],
})

const asked: Query = {
  expr: aggregate('sum', [], select('plimsoll_load_rate_asked_per_second', chosen)),
  legend: 'asked for',
  meaning: 'limit',
}

const headlines: readonly Panel[] = [
  {
    kind: 'number',
    title: 'Asked for',
    description: 'Requests per second that the runs were asked for.',
    unit: 'reqps',
    queries: [asked],
  },
  {
    kind: 'number',
    title: 'Sent',
    description: 'Requests per second that were sent.',
    unit: 'reqps',
    queries: [{ expr: rateOf('plimsoll_load_sent_total'), legend: 'sent' }],
  },
  {
    kind: 'number',
    title: 'In flight',
    description: 'Requests that were sent and have not ended.',
    unit: 'short',
    queries: [{ expr: aggregate('sum', [], select('plimsoll_load_in_flight', chosen)), legend: 'in flight' }],
  },
  {
    kind: 'table',
    title: 'Runs',
    description: 'The runs that are or were shown; the id is that of the result that `plimsoll load -o json` prints.',
    unit: 'short',
    width: 12,
    height: 4,
    queries: [
      {
        expr: aggregate('max', ['instance', 'run_id', 'arrivals'], select('plimsoll_load_run_info', chosen)),
        legend: '{{run_id}}',
      },
    ],
  },
]

const load: readonly Panel[] = [
  {
    kind: 'lines',
    title: 'Rate asked for and achieved',
    description:
      'Arrivals are what the schedule asks for, sent is what went out. Sent below arrivals: the generator could not keep up.',
    unit: 'reqps',
    queries: [
      asked,
      { expr: rateOf('plimsoll_load_arrivals_total'), legend: 'arrivals', meaning: 'usual' },
      { expr: rateOf('plimsoll_load_sent_total'), legend: 'sent', meaning: 'second' },
      { expr: rateOf('plimsoll_load_missed_total'), legend: 'missed', meaning: 'error' },
    ],
  },
  {
    kind: 'stacked',
    title: 'Requests by how they ended',
    description:
      'Requests that ended, per second: ok is a status under 400, censored is unanswered when the run was closed.',
    unit: 'reqps',
    queries: [
      {
        expr: sumOfRates(select('plimsoll_load_answers_total', chosen), { window, by: ['outcome'] }),
        legend: '{{outcome}}',
      },
    ],
    meanings: { '^ok$': 'ok', '^(httpError|connectionError)$': 'error', '^timeout$': 'slow', '^censored$': 'limit' },
  },
  {
    kind: 'lines',
    title: 'In flight',
    description: 'Unanswered requests. Open loop: it grows without end where the service is slower than the arrivals.',
    unit: 'short',
    queries: [
      {
        expr: aggregate('sum', ['instance'], select('plimsoll_load_in_flight', chosen)),
        legend: '{{instance}}',
      },
    ],
  },
]

const latencies = (sloMs: number): readonly Panel[] => [
  {
    kind: 'lines',
    title: 'Latency from the intended start',
    description:
      'What a user would have waited: from when the request was meant to start. The result of the run has finer figures.',
    unit: 's',
    queries: [0.5, 0.9, 0.99, 0.999].map((q) => ({ expr: quantileOf(q, latency, all), legend: `p${q * 100}` })),
    thresholds: [[sloMs / 1_000, 'slow']],
  },
  {
    kind: 'lines',
    title: 'Latency against service time',
    description:
      '99th percentile from the intended start and from the sending. Apart: requests waited in the generator.',
    unit: 's',
    queries: [
      { expr: quantileOf(0.99, latency, all), legend: 'from the intended start', meaning: 'slow' },
      { expr: quantileOf(0.99, service, all), legend: 'from the sending', meaning: 'ok' },
    ],
  },
  {
    kind: 'heat map',
    title: 'Distribution of latencies',
    description: 'How many requests took how long from their intended start.',
    unit: 's',
    queries: [{ expr: `sum by (le) (increase(${bucketsOf(latency, chosen)}[${window}]))`, legend: '{{le}}' }],
  },
]

const trust: readonly Panel[] = [
  {
    kind: 'lines',
    title: 'Send lag',
    description:
      'How much later than meant requests were sent. More than a few milliseconds: the figures say more about the generator.',
    unit: 's',
    width: 12,
    queries: [
      { expr: quantileOf(0.5, lag, all), legend: 'p50', meaning: 'ok' },
      { expr: quantileOf(0.99, lag, all), legend: 'p99', meaning: 'slow' },
    ],
    thresholds: [[0.01, 'error']],
  },
  {
    kind: 'lines',
    title: 'Share of arrivals missed',
    description: 'Arrivals that were not sent because too many requests were unanswered.',
    unit: 'percentunit',
    width: 12,
    queries: [
      {
        expr: share(rateOf('plimsoll_load_missed_total'), rateOf('plimsoll_load_arrivals_total')),
        legend: 'missed',
        meaning: 'error',
      },
    ],
  },
]
