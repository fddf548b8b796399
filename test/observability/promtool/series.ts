import type { MetricName } from '../../../src/observability/promql.ts'

/** Series as promtool reads them, a sample each minute: `metric{labels}` and its values. */
export type Series = Readonly<Record<string, string>>

type Labels = Readonly<Record<string, string | number>>

/** How long the series of most cases are, in minutes: longer than any case looks at. */
const longMinutes = 90

/** Braces with labels. */
export const labelsOf = (labels: Labels): string =>
  `{${Object.entries(labels)
    .map(([name, value]) => `${name}="${value}"`)
    .join(',')}}`

/** The first replica of the service. */
export const replica = { job: 'plimsoll', instance: '10.0.0.1:9464' } as const
export const secondReplica = { job: 'plimsoll', instance: '10.0.0.2:9464' } as const

export type Part = '' | '_bucket' | '_count' | '_sum'

/** One series of the first replica, unless the labels say another. */
export const of = (metric: MetricName, labels: Labels, values: string, part: Part = ''): Series => ({
  [`${metric}${part}${labelsOf({ ...replica, ...labels })}`]: values,
})

/** A gauge that stays. */
export const level = (value: number, minutes = longMinutes): string => `${value}x${minutes}`

/** A counter that grows at a rate, or at one after the other: `[per second, for minutes]`. */
export const rising = (...stages: readonly (number | readonly [perSecond: number, minutes: number])[]): string => {
  let from = 0
  const texts = stages.map((stage) => {
    const [perSecond, minutes] = typeof stage === 'number' ? [stage, longMinutes] : stage
    const perMinute = Number((perSecond * 60).toPrecision(9))
    const text = `${from}+${perMinute}x${minutes - 1}`
    from = Number((from + perMinute * minutes).toPrecision(12))
    return text
  })
  return texts.join(' ')
}

/** A classic histogram's buckets and its count, each growing as it is told; bounds in seconds. */
export const histogram = (metric: MetricName, labels: Labels, upTo: Readonly<Record<string, string>>): Series =>
  Object.assign(
    of(metric, labels, upTo['+Inf']!, '_count'),
    ...Object.entries(upTo).map(([le, values]) => of(metric, { ...labels, le }, values, '_bucket')),
  )

const route = { http_request_method: 'GET', http_route: '/json' }

/** Answers of one class; `inTime` are those within 250 ms, default: all. */
export const requests = (status: '2xx' | '4xx' | '5xx', values: string, inTime = values, more: Labels = {}): Series =>
  histogram(
    'http_server_request_duration_seconds',
    { ...route, http_response_status_class: status, ...more },
    { 0.25: inTime, 1: values, '+Inf': values },
  )
