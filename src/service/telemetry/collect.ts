import { serviceMetrics, type ServiceMetricName } from '../../contract/metrics.ts'
import type { Metric, MetricInfo, Sample } from '../../kit/metrics.ts'

/** What a part of the service has to say, by the name of the metric. */
export type Collected = Partial<Readonly<Record<ServiceMetricName, readonly Sample[]>>>

/** Asked at each scrape; `nowMs` is on the service's clock. */
export type Collector = (nowMs: number) => Collected | Promise<Collected>

/** Asks all parts. Each metric is the matter of one part. */
export const collectMetrics = async (collectors: readonly Collector[], nowMs: number): Promise<Metric[]> => {
  const parts = await Promise.all(collectors.map(async (collector) => collector(nowMs)))
  const all: Collected = Object.assign({}, ...parts)
  return names.flatMap((name) => {
    const values = all[name]
    return values === undefined || values.length === 0 ? [] : metricOf(name, values)
  })
}

/** A metric with what the contract says of it. */
export const metricOf = (name: ServiceMetricName, values: readonly Sample[]): Metric => {
  const { type, help, aggregation }: MetricInfo = serviceMetrics[name]
  return aggregation === undefined ? { name, type, help, values } : { name, type, help, values, aggregation }
}

const names = Object.keys(serviceMetrics) as ServiceMetricName[]

/** A metric that is one number. */
export const single = (value: number, labels: Sample['labels'] = {}): readonly Sample[] => [{ labels, value }]

/** A metric with a number for each value of a label. */
export const each = (label: string, values: Readonly<Record<string, number>>): readonly Sample[] =>
  Object.entries(values).map(([name, value]) => ({ labels: { [label]: name }, value }))
