import { bounds } from '../../contract/metrics.ts'
import { Buckets } from '../../kit/metrics.ts'
import type { Outcome } from './transport.ts'
import { failedStatuses, type FailedStatus } from './verdict.ts'

/** How a call ended; `abandoned`: nobody waited for it any more. */
export type CallStatus = 'ok' | FailedStatus | 'abandoned'

/** What is measured of the calls of one upstream. */
export class UpstreamMeter {
  readonly calls = Object.fromEntries(callStatuses.map((status) => [status, 0])) as Record<CallStatus, number>
  /** Of attempts, in seconds, by the type of error; that of what went well is empty. */
  readonly durations = new Map([['', new Buckets(bounds.request)]])

  attemptEnded(tookMs: number, errorType: string): void {
    let durations = this.durations.get(errorType)
    if (durations === undefined) this.durations.set(errorType, (durations = new Buckets(bounds.request)))
    durations.observe(tookMs / 1_000)
  }
}

const callStatuses: readonly CallStatus[] = ['ok', ...failedStatuses, 'abandoned']

/**
 * How an attempt failed, as the semantic conventions of HTTP's clients have it: a status from 400 on, or a word for what
 * there is instead of an answer; empty where it did not fail.
 */
export const errorTypeOfOutcome = (outcome: Outcome): string => {
  if (outcome.kind === 'broken') return outcome.code
  return outcome.status >= 400 ? String(outcome.status) : ''
}
