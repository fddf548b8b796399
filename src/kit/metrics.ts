/** One line of a metric: a value under labels. */
export type Sample = {
  readonly labels: Readonly<Record<string, string | number>>
  readonly value: number
  /** The name of the line, where it is not that of the metric: `_bucket`, `_sum`, `_count`. */
  readonly metricName?: string
  readonly exemplar?: Exemplar | undefined
}

/** One observation of many that can be looked up: the trace that it came from. */
export type Exemplar = {
  readonly labelSet: Readonly<Record<string, string>>
  readonly value: number
  /** Seconds since 1970. */
  readonly timestamp: number
}

export type MetricType = 'counter' | 'gauge' | 'histogram'

/** What is known of a metric before anything has happened. */
export type MetricInfo = { readonly type: MetricType; readonly help: string; readonly labels: readonly string[] }

/** A metric as it is now; plain, so that it can be sent between processes. */
export type Metric = {
  readonly name: string
  readonly type: MetricType
  readonly help: string
  readonly values: readonly Sample[]
}

/**
 * How many there are of something, and the integral of that over time in seconds: `rate()` of the integral is the exact
 * mean between two scrapes, whatever happened there and however far apart they are.
 */
export class Level {
  #now = 0
  #sinceMs = 0
  #secondsUntilThen = 0

  get value(): number {
    return this.#now
  }

  add(nowMs: number, by = 1): void {
    this.#secondsUntilThen = this.seconds(nowMs)
    this.#sinceMs = nowMs
    this.#now += by
  }

  remove(nowMs: number): void {
    this.add(nowMs, -1)
  }

  /** The integral up to now. */
  seconds(nowMs: number): number {
    return this.#secondsUntilThen + (this.#now * (nowMs - this.#sinceMs)) / 1_000
  }
}

/** Counts of observations by the bucket that they fall in; `bounds` are upper ones, ascending and inclusive. */
export class Buckets {
  readonly bounds: readonly number[]
  /** One more than bounds: the last is for what is above all of them. */
  readonly counts: Float64Array
  sum = 0
  #exemplars: (Exemplar | undefined)[] | undefined = undefined

  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = new Float64Array(bounds.length + 1)
  }

  observe(value: number): void {
    this.sum += value
    this.counts[this.#indexOf(value)]!++
  }

  /** Remembers where this observation, made before, came from. Each bucket has one: the latest. */
  exemplify(value: number, labelSet: Exemplar['labelSet'], timestamp: number): void {
    this.#exemplars ??= this.bounds.map(() => undefined)
    this.#exemplars[this.#indexOf(value)] = { labelSet, value, timestamp }
  }

  samples(name: string, labels: Sample['labels']): Sample[] {
    let count = 0
    const buckets = Array.from(this.counts, (inBucket, i): Sample => {
      count += inBucket
      const le = i < this.bounds.length ? this.bounds[i]! : '+Inf'
      return { labels: { ...labels, le }, value: count, metricName: `${name}_bucket`, exemplar: this.#exemplars?.[i] }
    })
    return [
      ...buckets,
      { labels, value: this.sum, metricName: `${name}_sum` },
      { labels, value: count, metricName: `${name}_count` },
    ]
  }

  // Most observations are small: from below, and without a call for each step, the first look mostly is the last.
  #indexOf(value: number): number {
    const { bounds } = this
    let i = 0
    while (i < bounds.length && value > bounds[i]!) i++
    return i
  }
}

/**
 * The metrics of several processes as one: lines with the same labels are added up, and of exemplars the latest is
 * kept. What must not be added up has a label that tells the processes apart.
 */
export const mergeMetrics = (processes: readonly (readonly Metric[])[]): Metric[] => {
  const byName = Map.groupBy(processes.flat(), ({ name }) => name)
  return [...byName.values()].map((same) => ({ ...same[0]!, values: mergeSamples(same) }))
}

const mergeSamples = (same: readonly Metric[]): readonly Sample[] => {
  if (same.length === 1) return same[0]!.values
  const byLine = new Map<string, Sample>()
  for (const sample of same.flatMap(({ values }) => values)) {
    const line = lineOf(sample)
    const known = byLine.get(line)
    byLine.set(line, known === undefined ? sample : sumOf(known, sample))
  }
  return [...byLine.values()]
}

const lineOf = ({ metricName, labels }: Sample): string =>
  `${metricName ?? ''}\0${Object.keys(labels)
    .sort()
    .map((name) => `${name}\0${labels[name]}`)
    .join('\0')}`

const sumOf = (a: Sample, b: Sample): Sample => ({
  ...a,
  value: a.value + b.value,
  exemplar: (a.exemplar?.timestamp ?? 0) < (b.exemplar?.timestamp ?? 0) ? b.exemplar : a.exemplar,
})

/** What only grows, of a process that is gone: kept so that the sum over all processes never falls. */
export const totalsOf = (metrics: readonly Metric[]): Metric[] => metrics.filter(({ type }) => type !== 'gauge')

export const metricsFormats = {
  prometheus: 'text/plain; version=0.0.4; charset=utf-8',
  openMetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
} as const
export type MetricsFormat = keyof typeof metricsFormats

/** Writes metrics as text. Exemplars are written as OpenMetrics only: the older format has no place for them. */
export const writeMetrics = async (metrics: readonly Metric[], format: MetricsFormat): Promise<string> => {
  const { Registry } = (await import('@prometheus-io/client')).default
  const registry = new Registry(metricsFormats[format])
  // Its own histograms and counters look each label up by name at each observation, which takes longer than all else that
  // is recorded of a request. It writes any object that has a metric's form.
  for (const metric of metrics) {
    const written = { ...metric, get: () => written }
    registry.registerMetric(written as never)
  }
  return registry.metrics()
}
