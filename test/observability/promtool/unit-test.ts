import { defaultOptions } from '../../../src/observability/options.ts'
import { type Alert, alerts } from '../../../src/observability/rules/index.ts'
import type { AlertCase, Fired, RecordingCase } from './cases.ts'
import { labelsOf } from './series.ts'

/** Which of several alerts of its name it is. */
export const windowOf = ({ labels }: Alert): string | undefined => labels?.['long_window']

/** Whether a case is about this one of the alerts of its name. */
export const isAbout = (alert: Alert, { alert: name, longWindow, fires }: AlertCase): boolean =>
  name === alert.name &&
  (longWindow === undefined
    ? fires.every(({ labels }) => labels['long_window'] === undefined) || fires.some(isOfWindow(windowOf(alert)))
    : longWindow === windowOf(alert))

const isOfWindow =
  (window: string | undefined) =>
  ({ labels }: Fired): boolean =>
    labels['long_window'] === window

/** The title of a case. */
export const lawOf = (one: AlertCase | RecordingCase): string =>
  'values' in one ? `these are what their series say: ${Object.keys(one.values).join(', ')}` : `${one.alert} ${one.law}`

/** As a unit test of promtool. */
export const unitTest = (one: AlertCase | RecordingCase): object =>
  'values' in one ? recordingTest(one) : alertTest(one)

/** One of several alerts of a name is looked at by its labels, others with their texts. */
const alertTest = ({ series, atMinutes, fires, ...one }: AlertCase): object => {
  const at = `${atMinutes}m`
  const same = { interval: '1m', name: `${one.alert} ${one.law}`, input_series: inputOf(series) }
  const worded = fires.every(({ description }) => description !== undefined)
  return one.longWindow === undefined && worded
    ? {
        ...same,
        alert_rule_test: [{ eval_time: at, alertname: one.alert, exp_alerts: fires.map(expected(one.alert)) }],
      }
    : {
        ...same,
        promql_expr_test: [{ expr: firing(one), eval_time: at, exp_samples: fires.map(firingSample(one.alert)) }],
      }
}

const inputOf = (series: AlertCase['series']): object[] =>
  Object.entries(series).map(([name, values]) => ({ series: name, values }))

const expected =
  (name: string) =>
  ({ labels, summary, description }: Fired): object => ({
    exp_labels: { severity: severityOf(name, labels), ...labels },
    exp_annotations: { summary, description, runbook_url: `docs/runbook.md#${name.toLowerCase()}` },
  })

const severityOf = (name: string, labels: Fired['labels']): string =>
  alerts(defaultOptions).find((alert) => alert.name === name && windowOf(alert) === labels['long_window'])!.severity

const firing = ({ alert, longWindow }: Pick<AlertCase, 'alert' | 'longWindow'>): string => {
  const window = longWindow === undefined ? {} : { long_window: longWindow }
  return `ALERTS${labelsOf({ alertname: alert, alertstate: 'firing', ...window })}`
}

const firingSample =
  (alertname: string) =>
  ({ labels }: Fired): object => {
    const severity = severityOf(alertname, labels)
    return { labels: `ALERTS${labelsOf({ alertname, alertstate: 'firing', severity, ...labels })}`, value: 1 }
  }

/** Rounded, for sums of fractions are not exact. */
const recordingTest = ({ series, atMinutes, values }: RecordingCase): object => ({
  interval: '1m',
  name: Object.keys(values)[0],
  input_series: inputOf(series),
  promql_expr_test: Object.entries(values).map(([record, { samples, roundTo = 0.0001 }]) => ({
    expr: `round(${record}, ${roundTo})`,
    eval_time: `${atMinutes}m`,
    exp_samples: samples.map(({ labels, value }) => ({ labels: labelsOf(labels), value })),
  })),
})
