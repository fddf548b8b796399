import type { SpanExporter } from '@opentelemetry/sdk-trace'
import type { Tracing } from './export.ts'

/** The exporter that is configured. Only what it needs is loaded. `concurrencyLimit`: batches on their way at once. */
export const exporterFor = async (tracing: Tracing, concurrencyLimit: number): Promise<SpanExporter> => {
  if (tracing.exporter === 'console') return new (await import('./export-sdk.ts')).ConsoleSpanExporter()
  const options = { timeoutMillis: tracing.timeoutMs, concurrencyLimit }
  return tracing.protocol === 'grpc' ? grpcExporter(tracing, options) : httpExporter(tracing, options)
}

/** Where traces go, for the log: not the user, password, path and query of a URL, which may be secret. */
export const collectorOf = (tracing: Tracing): string => {
  if (tracing.exporter === 'console') return 'console'
  const url = tracing.protocol === 'grpc' ? grpcUrl(tracing) : httpUrl(tracing)
  return url === undefined ? 'localhost' : new URL(url).origin
}

type Options = { readonly timeoutMillis: number; readonly concurrencyLimit: number }

const httpExporter = async (tracing: Tracing, options: Options): Promise<SpanExporter> => {
  const { OTLPTraceExporter } = await (tracing.protocol === 'http/json'
    ? import('@opentelemetry/exporter-trace-otlp-http')
    : import('@opentelemetry/exporter-trace-otlp-proto'))
  return new OTLPTraceExporter({ ...options, headers: { ...tracing.headers }, ...given(httpUrl(tracing)) })
}

const grpcExporter = async (tracing: Tracing, options: Options): Promise<SpanExporter> => {
  const [{ OTLPTraceExporter }, { default: grpc }] = await Promise.all([
    import('@opentelemetry/exporter-trace-otlp-grpc'),
    import('@grpc/grpc-js'),
  ])
  const metadata = new grpc.Metadata()
  for (const [name, value] of Object.entries(tracing.headers)) metadata.set(name, value)
  return new OTLPTraceExporter({ ...options, metadata, ...given(grpcUrl(tracing)) })
}

/** https://opentelemetry.io/docs/specs/otel/protocol/exporter/#endpoint-urls-for-otlphttp */
const httpUrl = ({ endpoint, tracesEndpoint }: Tracing): string | undefined =>
  tracesEndpoint ?? (endpoint && `${endpoint.replace(/\/$/, '')}/v1/traces`)

const grpcUrl = ({ endpoint, tracesEndpoint }: Tracing): string | undefined => tracesEndpoint ?? endpoint

const given = (url: string | undefined): { url?: string } => (url === undefined ? {} : { url })
