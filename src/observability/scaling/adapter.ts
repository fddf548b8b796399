import { select } from '../promql.ts'
import { yamlFile } from '../yaml-file.ts'
import { type ScalingMetric, scalingMetrics, scalingWindow } from './targets.ts'

type Json = Readonly<Record<string, unknown>>

/** What prometheus-adapter fills in: the namespace and the pods that are asked for, and the label that tells pods apart. */
const scope = '<<.LabelMatchers>>'
const groupBy = '<<.GroupBy>>'

/** The expression of a metric for each pod, as a template of prometheus-adapter. */
export const adapterQuery = ({ query }: ScalingMetric): string => query({ scope, window: scalingWindow, by: [groupBy] })

/** The expression by which prometheus-adapter finds out that a metric is there. */
export const adapterSeries = ({ foundBy }: ScalingMetric): string => select(foundBy, 'namespace!=""', 'pod!=""')

const rule = (metric: ScalingMetric): Json => ({
  seriesQuery: adapterSeries(metric),
  resources: { overrides: { namespace: { resource: 'namespace' }, pod: { resource: 'pod' } } },
  name: { as: metric.name },
  metricsQuery: adapterQuery(metric),
})

/** Rules that make Prometheus' series metrics of pods, as values of the adapter's Helm chart. */
export const adapterFile = (): string =>
  yamlFile(
    [
      'Rules of prometheus-adapter, as values of its Helm chart (prometheus-community/prometheus-adapter).',
      'They turn series into metrics of pods for the HPAs beside this file.',
      'The series must have the labels `namespace` and `pod`, which a PodMonitor, a ServiceMonitor, and the scrape',
      'configuration in provisioning/prometheus.yaml give them.',
    ],
    { rules: { default: false, custom: Object.values(scalingMetrics).map(rule) } },
  )
