import { requestRate } from '../queries.ts'
import { select, sumOfRates } from '../promql.ts'
import { records } from './recording.ts'
import { type Alert, ofJob, recorded, type RuleOptions } from './rule.ts'

/** Alerts on what happens to requests before they are worked on. */
export const requestAlerts = (options: RuleOptions): Alert[] => [
  ...admissionAlerts(options),
  ...rateLimitAlerts(options),
]

const slice = { window: '5m', by: ['job'] }

const admissionAlerts = (options: RuleOptions): Alert[] => {
  const scope = ofJob(options)
  const refused = recorded(records.refused, scope)
  const queued = recorded(records.queued, scope)
  return [
    {
      name: 'PlimsollRefusing',
      severity: 'ticket',
      expr: `${refused} / ${requestRate({ ...slice, scope })} > 0.01\nand ${refused} > 0.1`,
      for: '10m',
      summary: '{{ $labels.job }} refuses requests to protect the others',
      description:
        '{{ $value | humanizePercentage }} of requests were refused by admission in the last 5m (limit 1 %): more ' +
        'arrives than can be served.',
    },
    {
      name: 'PlimsollAdmissionQueueGrowing',
      severity: 'ticket',
      // A queue that is longer than a quarter of an hour ago, or was not there at all then.
      expr: `${queued} > 10\nunless ${queued} <= 1.1 * ${queued} offset 15m`,
      for: '5m',
      summary: 'More and more requests wait for admission at {{ $labels.instance }}',
      description:
        '{{ $value | printf "%.1f" }} requests waited for admission on average in the last 5m (limit 10), more than ' +
        '15 minutes ago.',
    },
  ]
}

const decisions = 'plimsoll_rate_limit_requests_total'

const rateLimitAlerts = (options: RuleOptions): Alert[] => {
  const scope = ofJob(options)
  const all = sumOfRates(select(decisions, scope), slice)
  const decided = (decision: string): string => sumOfRates(select(decisions, scope, `decision="${decision}"`), slice)
  return [
    {
      name: 'PlimsollRateLimitingMost',
      severity: 'ticket',
      expr: `${decided('refused')} / ${all} > 0.5\nand ${all} > 1`,
      for: '10m',
      summary: '{{ $labels.job }} answers most requests 429',
      description:
        '{{ $value | humanizePercentage }} of requests were over the rate limit of their client in the last 5m ' +
        '(limit 50 %).',
    },
    {
      name: 'PlimsollRateLimitUncounted',
      severity: 'ticket',
      expr: `${decided('uncounted')} / ${all} > 0.01`,
      for: '5m',
      keepFiringFor: '5m',
      summary: '{{ $labels.job }} cannot count requests: the store of rate limits does not answer',
      description:
        '{{ $value | humanizePercentage }} of requests could not be counted in the last 5m (limit 1 %). They pass, or ' +
        'are answered 503, as RATE_LIMIT_ON_LOSS says.',
    },
  ]
}
