import { select } from '../promql.ts'
import { records } from './recording.ts'
import { type Alert, ofJob, recorded, type RuleOptions } from './rule.ts'
import { type Burn, burns, type Window } from './windows.ts'

/** An objective whose budget can be spent too fast. */
type Budget = {
  readonly name: string
  readonly objective: number
  readonly ratio: (window: Window) => string
  /** The rate of what spends it. */
  readonly bad: string
  readonly summary: string
  /** What a share of requests did, after "of requests". */
  readonly did: string
}

/**
 * The two budgets, each with an alert for every speed of spending that can be reached, and one that says when lateness
 * cannot be seen.
 */
export const burnAlerts = (options: RuleOptions): Alert[] => [
  ...[errorBudget(options), latencyBudget(options)].flatMap((budget) =>
    burns.filter(({ factor }) => thresholdOf(budget, factor) < 1).map((burn) => burnAlert(options, budget, burn)),
  ),
  mismatchAlert(options),
]

/** The histogram has a bucket at the replica's own SLO: another one is looked for in vain, or is not what was promised. */
const mismatchAlert = (options: RuleOptions): Alert => ({
  name: 'PlimsollSloMismatch',
  severity: 'ticket',
  expr: `${select('plimsoll_slo_seconds', ofJob(options))} != ${options.sloMs / 1_000}`,
  for: '15m',
  summary: '{{ $labels.instance }} has another SLO than its alerts',
  description:
    `SLO_MS of the replica is {{ $value | humanizeDuration }}; the rules were made for ${options.sloMs} ms, and ` +
    'PlimsollLatencyBudgetBurn does not see it.',
})

const errorBudget = ({ sloObjective }: RuleOptions): Budget => ({
  name: 'PlimsollErrorBudgetBurn',
  objective: sloObjective,
  ratio: records.errorRatio,
  bad: records.errors,
  summary: '{{ $labels.job }} fails requests',
  did: 'ended in a 5xx (refusals are 503 and count)',
})

const latencyBudget = ({ latencyObjective, sloMs }: RuleOptions): Budget => ({
  name: 'PlimsollLatencyBudgetBurn',
  objective: latencyObjective,
  ratio: records.slowRatio,
  bad: records.slow,
  summary: '{{ $labels.job }} answers late',
  did: `without a 5xx took longer than ${sloMs} ms`,
})

/**
 * Fewer bad requests than this in the long window wake nobody: with ten requests an hour one failure is a large share and
 * a small matter.
 */
const fewestBad = 10

/** As a number that is written short: 14.4 × 0.001 is 0.014399999999999999. */
const thresholdOf = ({ objective }: Budget, factor: number): number => Number((factor * (1 - objective)).toPrecision(6))

const burnAlert = (options: RuleOptions, budget: Budget, burn: Burn): Alert => ({
  name: budget.name,
  severity: burn.severity,
  expr: burnExpression(options, budget, burn),
  for: burn.for,
  labels: { long_window: burn.long, short_window: burn.short },
  summary: `${budget.summary}: at this speed the budget of 30 days lasts ${lasts(burn)}`,
  description:
    `{{ $value | humanizePercentage }} of requests ${budget.did} in the last ${burn.long}, and more than ` +
    `${percent(thresholdOf(budget, burn.factor))} in the last ${burn.short}; the objective allows ` +
    `${percent(1 - budget.objective)}. ${burn.spent} of the budget of 30 days are gone when this lasts for ${burn.long}.`,
})

const burnExpression = (options: RuleOptions, budget: Budget, { factor, long, short }: Burn): string => {
  const scope = ofJob(options)
  const threshold = thresholdOf(budget, factor)
  return [
    `${recorded(budget.ratio(long), scope)} > ${threshold}`,
    `${recorded(budget.ratio(short), scope)} > ${threshold}`,
    `${countOver(long, recorded(budget.bad, scope))} >= ${fewestBad}`,
  ].join('\nand ')
}

/**
 * How many there were, of a rate: what was seen, and no more. A mean over the window times its length would make ten of one
 * that the first minutes after a rollout have seen.
 */
const countOver = (long: Window, rate: string): string => `sum_over_time(${rate}[${long}:1m]) * 60`

const lasts = ({ factor }: Burn): string => {
  const hours = (30 * 24) / factor
  return hours < 72 ? `${hours} hours` : `${hours / 24} days`
}

const percent = (share: number): string => `${Number((share * 100).toPrecision(6))} %`
