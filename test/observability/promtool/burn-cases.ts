import { type AlertCase, type Fired, pair } from './cases.ts'
import { level, of, requests, rising, type Series } from './series.ts'

const job = 'plimsoll'
const perSecond = 100
const hour = 60
const day = 24 * hour

/** So many requests a second for some minutes, a share of them bad. */
type Stage = { readonly share: number; readonly minutes: number; readonly perSecond?: number }

const rate = (of: (stage: Stage) => number, stages: readonly Stage[]): string =>
  rising(...stages.map((stage) => [of(stage) * (stage.perSecond ?? perSecond), stage.minutes] as const))

const failing = (...stages: readonly Stage[]): Series => ({
  ...requests(
    '2xx',
    rate(({ share }) => 1 - share, stages),
  ),
  ...requests(
    '5xx',
    rate(({ share }) => share, stages),
  ),
})

const late = (...stages: readonly Stage[]): Series =>
  requests(
    '2xx',
    rate(() => 1, stages),
    rate(({ share }) => 1 - share, stages),
  )

type Speed = {
  readonly longWindow: string
  readonly shortWindow: string
  readonly longMinutes: number
  readonly shortMinutes: number
  readonly forMinutes: number
  readonly factor: number
  /** How often rules are evaluated where hours or days are looked at. */
  readonly everyMinutes: number
}

const speed = (longWindow: string, shortWindow: string, more: Omit<Speed, 'longWindow' | 'shortWindow'>): Speed => ({
  longWindow,
  shortWindow,
  ...more,
})

const speeds: readonly Speed[] = [
  speed('1h', '5m', { longMinutes: hour, shortMinutes: 5, forMinutes: 2, factor: 14.4, everyMinutes: 1 }),
  speed('6h', '30m', { longMinutes: 6 * hour, shortMinutes: 30, forMinutes: 5, factor: 6, everyMinutes: 5 }),
  speed('1d', '2h', { longMinutes: day, shortMinutes: 2 * hour, forMinutes: 15, factor: 3, everyMinutes: 10 }),
  speed('3d', '6h', { longMinutes: 3 * day, shortMinutes: 6 * hour, forMinutes: 30, factor: 1, everyMinutes: 20 }),
]

/** What an alert says of a speed of spending, and what it does not mistake for that. */
const burning = (alert: string, budget: number, series: (...stages: Stage[]) => Series): AlertCase[] =>
  speeds.flatMap((speed) => {
    const { longWindow, shortWindow, forMinutes, factor } = speed
    const allowed = budget * factor
    return [
      ...pair<number>(alert, {
        longWindow,
        atMinutes: forMinutes + 5,
        series: (times) => series({ share: allowed * times, minutes: 2 * hour }),
        fires: {
          with: 1.05,
          because: `when its budget is spent 1.05 × ${factor} times too fast`,
          labels: { job, long_window: longWindow, short_window: shortWindow },
        },
        silent: [
          { with: 0.95, because: `when its budget is spent 0.95 × ${factor} times too fast` },
          { with: 1.05, because: `in the first ${forMinutes} minutes of that`, atMinutes: forMinutes },
        ],
      }),
      ...notYetOrNoMore(alert, allowed, speed, series),
    ]
  })

const notYetOrNoMore = (
  alert: string,
  allowed: number,
  { longWindow, shortWindow, longMinutes, shortMinutes, forMinutes, everyMinutes }: Speed,
  series: (...stages: Stage[]) => Series,
): AlertCase[] => {
  const upTo = (minutes: number): number => everyMinutes * Math.ceil(minutes / everyMinutes)
  const bad = 2 * allowed
  const begun = upTo(shortMinutes + forMinutes + 10)
  const over = upTo(shortMinutes + 10)
  const silent = { alert, longWindow, fires: [] }
  return [
    {
      ...silent,
      law: `is silent when its budget is spent faster for ${shortWindow}, and was not before`,
      series: series({ share: 0, minutes: longMinutes }, { share: bad, minutes: begun + 1 }),
      atMinutes: longMinutes + begun,
      everyMinutes,
    },
    {
      ...silent,
      law: `is silent when the last ${shortWindow} are clean`,
      series: series({ share: 2 * bad, minutes: over }, { share: 0, minutes: over + 1 }),
      atMinutes: 2 * over,
      everyMinutes,
    },
    {
      ...silent,
      law: `is silent with 9 bad requests in ${longWindow}`,
      series: series({ share: 0.5, minutes: 2 * hour, perSecond: 9 / 0.5 / (longMinutes * 60) }),
      atMinutes: forMinutes + 20,
    },
    {
      ...silent,
      law: `is silent with 9 bad requests in ${longWindow} of which only the last 50 minutes were seen`,
      series: series({ share: 0.5, minutes: 2 * hour, perSecond: 9 / 0.5 / (50 * 60) }),
      atMinutes: 50,
    },
  ]
}

const errors = 'PlimsollErrorBudgetBurn'
const lateness = 'PlimsollLatencyBudgetBurn'

/** An outage of half of all requests, an hour after the first request: every speed is told. */
const told = (alert: string, series: Series, fires: readonly Fired[]): AlertCase => {
  return { alert, law: 'tells shares, windows and the objective', atMinutes: 2 * hour, series, fires }
}

const windowsTold = (text: (long: string, over: number) => string, budget: number, summary: string): Fired[] =>
  [
    { long: '1h', short: '5m', factor: 14.4, lasts: '50 hours', spent: '2 %' },
    { long: '6h', short: '30m', factor: 6, lasts: '5 days', spent: '5 %' },
    { long: '1d', short: '2h', factor: 3, lasts: '10 days', spent: '10 %' },
    { long: '3d', short: '6h', factor: 1, lasts: '30 days', spent: '10 %' },
  ].map(({ long, short, factor, lasts, spent }) => ({
    labels: { job, long_window: long, short_window: short },
    summary: `plimsoll ${summary}: at this speed the budget of 30 days lasts ${lasts}`,
    description: `${text(long, Number((factor * budget * 100).toPrecision(4)))} in the last ${short}; the objective allows ${budget * 100} %. ${spent} of the budget of 30 days are gone when this lasts for ${long}.`,
  }))

export const burnCases: readonly AlertCase[] = [
  ...burning(errors, 0.001, failing),
  ...burning(lateness, 0.01, late),
  told(
    errors,
    failing({ share: 0.5, minutes: 3 * hour }),
    windowsTold(
      (long, over) =>
        `50% of requests ended in a 5xx (refusals are 503 and count) in the last ${long}, and more than ${over} %`,
      0.001,
      'fails requests',
    ),
  ),
  told(
    lateness,
    late({ share: 0.5, minutes: 3 * hour }),
    windowsTold(
      (long, over) =>
        `50% of requests without a 5xx took longer than 250 ms in the last ${long}, and more than ${over} %`,
      0.01,
      'answers late',
    ),
  ),
  {
    alert: errors,
    law: 'is silent where only made-up paths fail',
    atMinutes: 60,
    series: { ...requests('2xx', rising(50)), ...requests('5xx', rising(50), rising(50), { http_route: 'unmatched' }) },
    fires: [],
  },
  {
    alert: lateness,
    law: 'is silent with uploads that take their time',
    atMinutes: 60,
    series: {
      ...requests('2xx', rising(50)),
      ...requests('2xx', rising(50), level(0), { http_route: '/uploads/:id' }),
    },
    fires: [],
  },
  {
    alert: lateness,
    law: 'is silent with errors that take their time: they spend the other budget',
    atMinutes: 60,
    series: { ...requests('2xx', rising(50)), ...requests('5xx', rising(50), level(0)) },
    fires: [],
  },
  ...pair<number>('PlimsollSloMismatch', {
    series: (seconds) => of('plimsoll_slo_seconds', {}, level(seconds)),
    atMinutes: 20,
    fires: {
      with: 0.5,
      because: 'where a replica promises 500 ms and the rules 250 ms',
      labels: { job, instance: '10.0.0.1:9464' },
      summary: '10.0.0.1:9464 has another SLO than its alerts',
      description:
        'SLO_MS of the replica is 500ms; the rules were made for 250 ms, and PlimsollLatencyBudgetBurn does not see it.',
    },
    silent: [
      { with: 0.25, because: 'where both promise the same' },
      { with: 0.5, because: 'in the first 15 minutes', atMinutes: 14 },
    ],
  }),
]
