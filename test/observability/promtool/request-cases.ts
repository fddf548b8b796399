import { type AlertCase, pair } from './cases.ts'
import { of, requests, rising } from './series.ts'

const job = 'plimsoll'
const instance = '10.0.0.1:9464'

const decided = (decision: string, values: string) => of('plimsoll_rate_limit_requests_total', { decision }, values)

export const requestCases: readonly AlertCase[] = [
  ...pair<{ readonly refused: number; readonly all?: number }>('PlimsollRefusing', {
    series: ({ refused, all = 100 }) => ({
      ...requests('2xx', rising(all - refused)),
      ...requests('5xx', rising(refused)),
      ...of('plimsoll_admission_refused_total', { reason: 'queue-full' }, rising(refused / 2)),
      ...of('plimsoll_admission_refused_total', { reason: 'queue-timeout' }, rising(refused / 2)),
    }),
    atMinutes: 17,
    fires: {
      with: { refused: 1.2 },
      because: 'when 1.2 % are refused for 10 minutes',
      labels: { job },
      summary: 'plimsoll refuses requests to protect the others',
      description:
        '1.2% of requests were refused by admission in the last 5m (limit 1 %): more arrives than can be served.',
    },
    silent: [
      { with: { refused: 0.9 }, because: 'at 0.9 %' },
      { with: { refused: 50 }, because: 'in the first 10 minutes', atMinutes: 9 },
      { with: { refused: 0.09, all: 1 }, because: 'at one refusal in 11 seconds' },
    ],
  }),

  ...pair<readonly [before: number, now: number]>('PlimsollAdmissionQueueGrowing', {
    series: ([before, now]) => of('plimsoll_admission_queued_seconds_total', {}, rising([before, 30], [now, 60])),
    atMinutes: 42,
    fires: {
      with: [10, 12],
      because: 'when 12 wait and 10 waited a quarter of an hour ago',
      labels: { job, instance },
      summary: 'More and more requests wait for admission at 10.0.0.1:9464',
      description: '12.0 requests waited for admission on average in the last 5m (limit 10), more than 15 minutes ago.',
    },
    silent: [
      { with: [12, 12], because: 'when 12 wait as before' },
      { with: [5, 9.9], because: 'when fewer than 10 wait' },
      { with: [10, 20], because: 'after three minutes', atMinutes: 33 },
      { with: [10, 20], because: 'when the queue has been as long for half an hour', atMinutes: 62 },
    ],
  }),
  {
    alert: 'PlimsollAdmissionQueueGrowing',
    law: 'fires at a replica that is not a quarter of an hour old',
    series: of('plimsoll_admission_queued_seconds_total', {}, rising(50)),
    atMinutes: 8,
    fires: [{ labels: { job, instance } }],
  },

  ...pair<{ readonly refused: number; readonly allowed: number }>('PlimsollRateLimitingMost', {
    series: ({ refused, allowed }) => ({
      ...decided('refused', rising(refused)),
      ...decided('allowed', rising(allowed)),
      ...decided('uncounted', rising(0)),
    }),
    atMinutes: 17,
    fires: {
      with: { refused: 60, allowed: 40 },
      because: 'when 60 % are over their limit for 10 minutes',
      labels: { job },
      summary: 'plimsoll answers most requests 429',
      description: '60% of requests were over the rate limit of their client in the last 5m (limit 50 %).',
    },
    silent: [
      { with: { refused: 49, allowed: 51 }, because: 'at 49 %' },
      { with: { refused: 90, allowed: 10 }, because: 'in the first 10 minutes', atMinutes: 9 },
      { with: { refused: 0.8, allowed: 0.1 }, because: 'with less than one request a second' },
    ],
  }),

  ...pair<number>('PlimsollRateLimitUncounted', {
    series: (uncounted) => ({
      ...decided('uncounted', rising([uncounted, 20], [0, 70])),
      ...decided('allowed', rising(100 - uncounted)),
    }),
    atMinutes: 10,
    fires: {
      with: 1.2,
      because: 'when 1.2 % are not counted for 5 minutes',
      labels: { job },
      summary: 'plimsoll cannot count requests: the store of rate limits does not answer',
      description:
        '1.2% of requests could not be counted in the last 5m (limit 1 %). They pass, or are answered 503, as ' +
        'RATE_LIMIT_ON_LOSS says.',
    },
    silent: [
      { with: 0.9, because: 'at 0.9 %' },
      { with: 50, because: 'in the first 5 minutes', atMinutes: 5 },
      { with: 50, because: 'a quarter of an hour after the last', atMinutes: 36 },
    ],
  }),
  {
    alert: 'PlimsollRateLimitUncounted',
    law: 'fires on for 5 minutes when the store is back',
    series: { ...decided('uncounted', rising([10, 20], [0, 70])), ...decided('allowed', rising(90)) },
    atMinutes: 28,
    fires: [{ labels: { job } }],
  },
]
