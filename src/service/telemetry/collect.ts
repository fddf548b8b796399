import { serviceMetrics, type ServiceMetricName } from '../../contract/metrics.ts'
import type { Metric, Sample } from '../../kit/metrics.ts'

/** What a part of the service has to say, by the name of the metric. */
export type Collected = Partial<Readonly<Record<ServiceMetricName, readonly Sample[]>>>

/** Asked at each scrape; `nowMs` is on the service's clock. */
export type Collector = (nowMs: number) => Collected

/** Asks all parts. Each metric is the matter of one part. */
export const collectMetrics = (collectors: readonly Collector[], nowMs: number): Metric[] => {
  const all: Collected = Object.assign({}, ...collectors.map((collector) => collector(nowMs)))
  return names.flatMap((name) => {
    const values = all[name]
    const { type, help } = serviceMetrics[name]
    return values === undefined || values.length === 0 ? [] : { name, type, help, values }
  })
}

const names = Object.keys(serviceMetrics) as ServiceMetricName[]

/** A metric that is one number. */
export const single = (value: number): readonly Sample[] => [{ labels: {}, value }]

/** A metric with a number for each value of a label. */
export const each = (label: string, values: Readonly<Record<string, number>>): readonly Sample[] =>
  Object.entries(values).map(([name, value]) => ({ labels: { [label]: name }, value }))
