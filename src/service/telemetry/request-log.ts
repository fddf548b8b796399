import type { Logger } from 'pino'
import { toMicrosecond } from '../../kit/units.ts'
import type { Reason, Told } from './requests.ts'

const levels = { error: 'error', slow: 'warn', sampled: 'info' } as const satisfies Record<Reason, string>

/** Writes one line for each request that is told of. */
export const tellLog =
  (log: Logger) =>
  ({ reason, method, route, status, tookMs, problem, failure, trace }: Told): void => {
    const line = { method, route, status, tookMs: toMicrosecond(tookMs), reason, problem, err: failure }
    log[levels[reason]](trace === undefined ? line : { ...line, traceId: trace.id, spanId: trace.root.id }, 'request')
  }
