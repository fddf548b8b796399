import { serviceMetrics, type ServiceMetricName } from '../../contract/metrics.ts'
import type { Exemplar, Metric, Sample } from '../../kit/metrics.ts'
import { metricOf } from './collect.ts'

/**
 * Metrics on their way between processes. A histogram's lines are one row: its labels, what it counts up to each bound,
 * and the sum; exemplars, if any, by the index of their bucket. That is a tenth of what the lines take as JSON. Other
 * lines are a row of labels and value. Both ends are the same version, so the contract gives types and help.
 */
export type PackedMetric = {
  readonly name: ServiceMetricName
  /** Of a histogram. */
  readonly bounds?: readonly (string | number)[]
  readonly rows: readonly (ValueRow | HistogramRow)[]
}

type Labels = Sample['labels']
type ValueRow = readonly [labels: Labels, value: number]
type HistogramRow = readonly [labels: Labels, counts: readonly number[], sum: number, exemplars?: Exemplars]
type Exemplars = Readonly<Record<number, Exemplar>>

/** Packs metrics; `exemplars`: with theirs. */
export const packMetrics = (metrics: readonly Metric[], { exemplars }: { exemplars: boolean }): PackedMetric[] =>
  metrics.map(({ name, type, values }) => {
    const known = name as ServiceMetricName
    if (type !== 'histogram') return { name: known, rows: values.map(({ labels, value }) => [labels, value] as const) }
    return { name: known, bounds: boundsOf(values), rows: packHistograms(values, exemplars) }
  })

// The lines of a histogram follow each other: its buckets, the sum, the count. See Buckets.samples.
const isSum = ({ metricName }: Sample): boolean => metricName!.endsWith('_sum')

const boundsOf = (lines: readonly Sample[]): (string | number)[] =>
  lines.slice(0, lines.findIndex(isSum)).map(({ labels }) => labels['le']!)

const packHistograms = (lines: readonly Sample[], exemplars: boolean): HistogramRow[] => {
  const buckets = lines.findIndex(isSum)
  return Array.from({ length: lines.length / (buckets + 2) }, (_, i): HistogramRow => {
    const first = i * (buckets + 2)
    const counted = lines.slice(first, first + buckets)
    const { labels, value } = lines[first + buckets]!
    const counts = counted.map((line) => line.value)
    return exemplars ? [labels, counts, value, exemplarsOf(counted)] : [labels, counts, value]
  })
}

const exemplarsOf = (buckets: readonly Sample[]): Exemplars =>
  Object.fromEntries(buckets.flatMap(({ exemplar }, i) => (exemplar === undefined ? [] : [[i, exemplar]])))

/** What was packed. A metric that the contract does not know is left out. */
export const unpackMetrics = (packed: readonly PackedMetric[]): Metric[] =>
  packed
    .filter(({ name }) => Object.hasOwn(serviceMetrics, name))
    .map(({ name, bounds, rows }) =>
      metricOf(
        name,
        rows.flatMap((row) => (isHistogram(row) ? unpackHistogram(name, bounds!, row) : unpackValue(row))),
      ),
    )

const isHistogram = (row: ValueRow | HistogramRow): row is HistogramRow => typeof row[1] === 'object'

const unpackValue = ([labels, value]: ValueRow): Sample => ({ labels, value })

const unpackHistogram = (
  name: string,
  bounds: readonly (string | number)[],
  [labels, counts, sum, exemplars]: HistogramRow,
): Sample[] => [
  ...counts.map((value, i): Sample => {
    return { labels: { ...labels, le: bounds[i]! }, value, metricName: `${name}_bucket`, exemplar: exemplars?.[i] }
  }),
  { labels, value: sum, metricName: `${name}_sum` },
  { labels, value: counts.at(-1)!, metricName: `${name}_count` },
]
