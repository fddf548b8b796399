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
    ctx.reply(200, metricsFormats[format], await writeMetrics(await collect(), format))
  })

/** Prometheus asks for OpenMetrics where it can keep what only that has: exemplars. */
const formatFor = (accept: string | undefined): MetricsFormat =>
  accept?.includes('application/openmetrics-text') === true ? 'openMetrics' : 'prometheus'

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
