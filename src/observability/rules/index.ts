import { stringify } from 'yaml'
import { burnAlerts } from './burn-alerts.ts'
import { dependencyAlerts } from './dependency-alerts.ts'
import { fleetAlerts } from './fleet-alerts.ts'
import { recordingRules } from './recording.ts'
import { replicaAlerts } from './replica-alerts.ts'
import { requestAlerts } from './request-alerts.ts'
import type { Alert, RecordingRule, RuleGroup, RuleOptions } from './rule.ts'

export { recordingRules, records } from './recording.ts'
export type { Alert, RecordingRule, RuleGroup, RuleOptions, Severity } from './rule.ts'

/** All alerts, by what they look at. */
export const alertGroups = (options: RuleOptions): readonly RuleGroup<Alert>[] => [
  { name: 'plimsoll-budgets', rules: burnAlerts(options) },
  { name: 'plimsoll-requests-alerts', rules: requestAlerts(options) },
  { name: 'plimsoll-replica-alerts', rules: replicaAlerts(options) },
  { name: 'plimsoll-dependency-alerts', rules: dependencyAlerts(options) },
  { name: 'plimsoll-fleet-alerts', rules: fleetAlerts(options) },
]

/** All alerts in one list. A name may stand there more than once, with labels that tell them apart. */
export const alerts = (options: RuleOptions): readonly Alert[] => alertGroups(options).flatMap(({ rules }) => rules)

/**
 * The rule files for Prometheus 2.42 or newer, 3 included: their names and their text. The recorded series are what the
 * alerts look at, so load both.
 */
export const ruleFiles = (options: RuleOptions): Readonly<Record<string, string>> => ({
  'plimsoll-recording.yaml': fileOf(recordingRules(options), writeRecording),
  'plimsoll-alerts.yaml': fileOf(alertGroups(options), (alert) => writeAlert(options, alert)),
})

const fileOf = <Rule>(groups: readonly RuleGroup<Rule>[], write: (rule: Rule) => object): string => {
  const written = groups.map(({ name, rules }) => ({ name, rules: rules.map(write) }))
  return stringify({ groups: written }, { lineWidth: 0 })
}

const writeRecording = ({ record, expr, labels }: RecordingRule): object => ({
  record,
  expr,
  ...(labels === undefined ? {} : { labels }),
})

const writeAlert = ({ runbookUrl }: RuleOptions, alert: Alert): object => ({
  alert: alert.name,
  expr: alert.expr,
  for: alert.for,
  ...(alert.keepFiringFor === undefined ? {} : { keep_firing_for: alert.keepFiringFor }),
  labels: { severity: alert.severity, ...alert.labels },
  annotations: {
    summary: alert.summary,
    description: alert.description,
    runbook_url: `${runbookUrl}#${alert.name.toLowerCase()}`,
  },
})
