import { select, sumOfRates } from '../promql.ts'
import { records } from './recording.ts'
import { saturated } from './replica-alerts.ts'
import { type Alert, ofJob, recorded, type RuleOptions } from './rule.ts'

/** Alerts on what the service needs of others: its database, its upstreams, the collector of its traces. */
export const dependencyAlerts = (options: RuleOptions): Alert[] => [
  ...databaseAlerts(options),
  {
    name: 'PlimsollUpstreamCircuitOpen',
    severity: 'ticket',
    expr: `count by (job, upstream) (${openCircuits(options)} > 0.5)`,
    for: '5m',
    keepFiringFor: '5m',
    summary: 'Upstream {{ $labels.upstream }} of {{ $labels.job }} fails and is left alone',
    description:
      'The circuit of upstream {{ $labels.upstream }} was not closed for most of the last 5m at ' +
      '{{ $value | printf "%.0f" }} replicas (limit 0).',
  },
  spansAlert(options),
]

// A circuit that is tried again and again is open and half-open in turn: the mean tells it from a single trial.
const openCircuits = (options: RuleOptions): string =>
  `avg_over_time(${select('plimsoll_upstream_breaker_open', ofJob(options))}[5m])`

const databaseAlerts = (options: RuleOptions): Alert[] => {
  const scope = ofJob(options)
  return [
    {
      name: 'PlimsollDatabaseUnreachable',
      severity: 'page',
      expr: `count by (job) (${select('plimsoll_db_reachable', scope)} == 0)`,
      for: '2m',
      keepFiringFor: '5m',
      summary: '{{ $labels.job }} does not reach its database',
      description:
        'The database does not answer {{ $value | printf "%.0f" }} replicas (limit 0). Routes that need it answer 503.',
    },
    saturated(options, {
      name: 'PlimsollPoolExhausted',
      resource: 'connection pool',
      above: 0.9,
      summary: 'The connection pool of {{ $labels.instance }} is used up',
      what: 'of the connections of the pool were in use on average in the last 5m',
    }),
    {
      name: 'PlimsollPoolWaits',
      severity: 'ticket',
      expr: `${recorded(records.poolPending, scope)} > 1`,
      for: '10m',
      summary: 'Requests wait for database connections at {{ $labels.instance }}',
      description:
        '{{ $value | printf "%.1f" }} requests waited for a connection of the pool on average in the last 5m (limit 1).',
    },
  ]
}

const spansAlert = (options: RuleOptions): Alert => {
  const spans = (...scopes: string[]): string =>
    sumOfRates(select('plimsoll_spans_total', ofJob(options), ...scopes), { window: '10m', by: ['job'] })
  return {
    name: 'PlimsollLosingSpans',
    severity: 'ticket',
    expr: `${spans('outcome!="exported"')} / ${spans()} > 0.01`,
    for: '15m',
    summary: 'Traces of {{ $labels.job }} have holes',
    description:
      '{{ $value | humanizePercentage }} of spans were dropped or not taken by the collector in the last 10m ' +
      '(limit 1 %).',
  }
}
