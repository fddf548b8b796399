import * as z from 'zod'
import { type Metric, type MetricsFormat, metricsFormats, writeMetrics } from '../../kit/metrics.ts'
import type { Api, Operation } from '../http/api.ts'
import { rawHeader } from '../http/raw-header.ts'

/** The metrics of all processes behind the admin port, as they are now. */
export type MetricsSource = () => readonly Metric[] | Promise<readonly Metric[]>

/** `GET /metrics` on the admin port, for Prometheus and whoever reads its formats. */
export const metricsRoute = (api: Api, collect: MetricsSource): void =>
  api.get('/metrics', operation, async (ctx) => {
    const format = formatFor(rawHeader(ctx.req, 'accept'))
    ctx.reply(200, metricsFormats[format], await writeMetrics(await collect(), format), headers)
  })

const headers = ['Cache-Control', 'no-store', 'Vary', 'Accept']

/**
 * The format for an `Accept` header. OpenMetrics goes to who names it and would not rather have plain text: Prometheus
 * does, and keeps its exemplars, for which the older format has no place. All others get plain text, also those that
 * accept neither. Parameters but `q` are not looked at: what Prometheus asks for in them changes from version to version.
 */
export const formatFor = (accept = '*/*'): MetricsFormat => {
  const ranges = accept.split(',').map(readRange)
  const openMetrics = qualityIn(ranges, 'application/openmetrics-text', 'application/*')
  const plain = qualityIn(ranges, 'text/plain', 'text/*', '*/*')
  return openMetrics > 0 && openMetrics >= plain ? 'openMetrics' : 'prometheus'
}

type MediaRange = { readonly type: string; readonly quality: number }

const readRange = (text: string): MediaRange => {
  const [type = '', ...parameters] = text.split(';').map((part) => part.trim().toLowerCase())
  const quality = parameters.find((parameter) => parameter.startsWith('q='))
  return { type, quality: quality === undefined ? 1 : Number(quality.slice(2)) || 0 }
}

/** What the first of these types has that is named at all; of several versions the best. */
const qualityIn = (ranges: readonly MediaRange[], ...types: readonly string[]): number => {
  const named = types.map((type) => ranges.filter((range) => range.type === type)).find(({ length }) => length > 0)
  return Math.max(0, ...(named ?? []).map(({ quality }) => quality))
}

const text = (): z.ZodType => z.string()

const operation: Operation = {
  summary: 'Metrics of this replica',
  description:
    'In the text format of Prometheus, or as OpenMetrics, with exemplars, for who accepts that. The figures of several ' +
    'workers are added up, or told apart by the label `worker`. With TELEMETRY=off nearly empty.',
  tag: 'probes',
  answers: {
    200: {
      description: 'All metrics as they are now.',
      content: { 'text/plain': text, 'application/openmetrics-text': text },
    },
  },
}
