import { retryAfterMs } from './backoff.ts'
import { mostBodyBytes, type Outcome } from './transport.ts'

/**
 * How a source's call can fail:
 *
 * - `timeout`: no answer in time, by our own watch or by the upstream's word (504)
 * - `error`: it cannot be reached, breaks off, or answers 5xx
 * - `refused`: it answers 4xx; or it was not called, because all connections to it are in use
 * - `invalid`: it answers with what is no use here: not JSON, more than 1 MiB, a redirect
 * - `circuit-open`: it was not called, because it failed too often
 */
export const failedStatuses = ['timeout', 'error', 'refused', 'invalid', 'circuit-open'] as const

export type FailedStatus = (typeof failedStatuses)[number]

/** The end of a call or an attempt. Its details name no address. */
export type Ending =
  /** `body` is the upstream's JSON, as it wrote it. */
  | { readonly status: 'ok'; readonly httpStatus: number; readonly body: string }
  | { readonly status: FailedStatus; readonly httpStatus?: number; readonly detail: string }

export type Verdict = {
  readonly ending: Ending
  /** Another attempt may do better. A GET is idempotent: that an earlier one arrived does no harm. */
  readonly retryable: boolean
  /** What the circuit breaker is told. An upstream that says no is well. */
  readonly healthy: boolean
  /** What the upstream asks to be left alone for; 0: nothing. */
  readonly retryAfterMs: number
}

const worthRetrying: ReadonlySet<number> = new Set([502, 503, 504])

/** What an attempt's outcome means. */
export const judge = (outcome: Outcome): Verdict => {
  if (outcome.kind === 'broken') {
    const ending: Ending = { status: 'error', detail: `no whole answer: ${outcome.code}` }
    return { ending, retryable: true, healthy: false, retryAfterMs: 0 }
  }
  const { status, headers, body } = outcome
  return {
    ending: status >= 200 && status < 300 ? read(status, body) : failed(status),
    retryable: worthRetrying.has(status),
    healthy: status < 500,
    retryAfterMs: retryAfterMs(headers),
  }
}

const failed = (httpStatus: number): Ending => {
  const detail = `answered ${httpStatus}`
  if (httpStatus === 504) return { status: 'timeout', httpStatus, detail }
  if (httpStatus >= 500) return { status: 'error', httpStatus, detail }
  if (httpStatus >= 400) return { status: 'refused', httpStatus, detail }
  return { status: 'invalid', httpStatus, detail: `${detail}, which is not followed` }
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

const read = (httpStatus: number, body: Uint8Array | undefined): Ending => {
  if (body === undefined) {
    return { status: 'invalid', httpStatus, detail: `the body is larger than ${mostBodyBytes} bytes` }
  }
  try {
    const text = utf8.decode(body)
    JSON.parse(text)
    return { status: 'ok', httpStatus, body: text }
  } catch {
    return { status: 'invalid', httpStatus, detail: `the body of ${body.length} bytes is not JSON` }
  }
}
