import type { Logger } from 'pino'
import { toMicrosecond } from '../../kit/units.ts'
import type { Reason, Told } from './requests.ts'

const levels = { error: 'error', slow: 'warn', sampled: 'info' } as const satisfies Record<Reason, string>

/**
 * Writes one line for each request that is told of. Its fields are described in docs/logging.md; `trace_id` and `span_id`
 * are OpenTelemetry's names for logs that are not OTLP:
 * https://opentelemetry.io/docs/specs/otel/compatibility/logging_trace_context/
 */
export const tellLog =
  (log: Logger) =>
  ({ reason, method, route, status, tookMs, problem, requestId, failure, trace }: Told): void => {
    log[levels[reason]](
      {
        reason,
        method,
        route,
        status,
        tookMs: toMicrosecond(tookMs),
        problem,
        requestId,
        trace_id: trace?.id,
        span_id: trace?.root.id,
        err: failure,
      },
      'request',
    )
  }
