import { dashboards } from './dashboards/index.ts'
import type { Dashboard } from './dashboards/dashboard.ts'
import { type LabelVariable, seriesOf } from './dashboards/variables.ts'
import type { ObservabilityOptions } from './options.ts'
import { recordingRules } from './rules/index.ts'
import { scalingQueries } from './scaling/index.ts'

/** An expression that is given to users, with its variables filled in. */
export type PlacedQuery = {
  /** The file, and what in it. */
  readonly where: string
  readonly expr: string
}

export type Substitution = {
  /** In place of `$__rate_interval` and `$__range`. */
  readonly window: string
  /** In place of `$job` on the dashboard of load runs; a regular expression. */
  readonly loadJob: string
}

const anything = '.*'

/**
 * Every expression of dashboards, of their variables and marks, of recording rules and of scaling, ready to be asked of a
 * Prometheus: each should have an answer there. Those of alerts are not among them: they have none while all is well.
 */
export const everyQuery = (options: ObservabilityOptions, substitution: Substitution): readonly PlacedQuery[] => [
  ...Object.entries(dashboards(options)).flatMap(([file, dashboard]) => {
    const job = file === 'lab.json' ? substitution.loadJob : options.job
    return queriesOf(dashboard).map(({ where, expr }) => ({
      where: `dashboards/${file}: ${where}`,
      expr: filled(expr, job, substitution.window),
    }))
  }),
  ...recordingRules(options)
    .flatMap(({ rules }) => rules)
    .map(({ record, expr }) => ({ where: `rules: ${record}`, expr })),
  ...Object.entries(scalingQueries(options)).map(([where, expr]) => ({ where: `scaling: ${where}`, expr })),
]

const queriesOf = ({ rows, variables, starts }: Dashboard): PlacedQuery[] => [
  ...rows.flatMap(({ panels }) =>
    panels.flatMap(({ title, queries }) =>
      queries.map(({ legend, expr }) => ({ where: `${title} (${legend})`, expr })),
    ),
  ),
  ...variables
    .filter((variable): variable is LabelVariable => variable.kind === 'label')
    .map((variable) => ({ where: `variable ${variable.name}`, expr: seriesOf(variable) })),
  ...(starts === undefined ? [] : [{ where: 'marks of starts', expr: starts }]),
]

const filled = (expr: string, job: string, window: string): string =>
  expr
    .replaceAll('$__rate_interval', window)
    .replaceAll('$__range', window)
    .replaceAll('$job', job)
    .replaceAll(/\$(instance|namespace|deployment|hpa)\b/g, anything)
