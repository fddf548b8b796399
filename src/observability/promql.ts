import type { LoadMetricName } from '../contract/load-metrics.ts'
import type { ServiceMetricName } from '../contract/metrics.ts'
import type { ForeignMetricName } from './foreign-metrics.ts'

/** Every metric that an expression may name; another one does not compile. */
export type MetricName = ServiceMetricName | LoadMetricName | ForeignMetricName

/** Matchers of labels as PromQL writes them, with commas between; empty: all series. */
export type Scope = string

/** Which series are looked at, over how long, and what is kept apart. */
export type Slice = {
  readonly scope: Scope
  /** A PromQL duration, or Grafana's `$__rate_interval`. */
  readonly window: string
  /** Labels that are kept; default: none, all becomes one number. */
  readonly by?: readonly string[]
}

/** `metric{scope,...}`. */
export const select = (metric: MetricName, ...scopes: readonly Scope[]): string => braces(metric, scopes)

/** The buckets of a histogram. */
export const bucketsOf = (metric: MetricName, ...scopes: readonly Scope[]): string => braces(`${metric}_bucket`, scopes)

/** The number of observations of a histogram. */
export const countOf = (metric: MetricName, ...scopes: readonly Scope[]): string => braces(`${metric}_count`, scopes)

/** The sum of observations of a histogram. */
export const sumOf = (metric: MetricName, ...scopes: readonly Scope[]): string => braces(`${metric}_sum`, scopes)

const braces = (series: string, scopes: readonly Scope[]): string => {
  const matchers = scopes.filter((scope) => scope !== '').join(',')
  return matchers === '' ? series : `${series}{${matchers}}`
}

export type Aggregation = 'sum' | 'max' | 'min' | 'avg' | 'count'

/** `sum by (a, b) (expression)`; without labels `sum(expression)`. */
export const aggregate = (how: Aggregation, by: readonly string[] | undefined, expression: string): string =>
  by === undefined || by.length === 0 ? `${how}(${expression})` : `${how} by (${by.join(', ')}) (${expression})`

/** The sum of the per-second rates of counters. A rate comes before a sum: a restart of one of them is no fall then. */
export const sumOfRates = (series: string, { window, by }: Pick<Slice, 'window' | 'by'>): string =>
  aggregate('sum', by, `rate(${series}[${window}])`)

/** A part of a whole, 0 where the part has no series yet, empty or NaN where the whole has none. */
export const share = (part: string, whole: string): string => `(${part} or ${whole} * 0) / ${whole}`

/**
 * A quantile of a classic histogram, over all series of the slice as one: buckets are added up first. The result is
 * interpolated within a bucket and never beyond the last finite bound.
 */
export const quantileOf = (q: number, metric: MetricName, { scope, window, by = [] }: Slice): string =>
  `histogram_quantile(${q}, ${sumOfRates(bucketsOf(metric, scope), { window, by: ['le', ...by] })})`

/** The mean of what a histogram has observed. */
export const meanOf = (metric: MetricName, slice: Slice): string =>
  `${sumOfRates(sumOf(metric, slice.scope), slice)} / ${sumOfRates(countOf(metric, slice.scope), slice)}`

/**
 * Matches the bucket that ends at this many seconds. Prometheus 2 keeps a bound as it was written (`1`), Prometheus 3 writes
 * every one as a float (`1.0`): https://prometheus.io/docs/prometheus/latest/migration/
 */
export const upTo = (seconds: number): Scope =>
  Number.isInteger(seconds) ? String.raw`le=~"${seconds}(\\.0)?"` : `le="${seconds}"`

/** Gives all series of an expression the same value of a label. */
export const labelled = (label: string, value: string, expression: string): string =>
  `label_replace(${expression}, "${label}", "${value}", "", "")`
