import type { LatencySummary, Verdict } from '../../contract/run-result.ts'
import { formatCount, formatDuration, formatMs, formatShare } from '../../kit/units.ts'

/** What a run tells about itself and its generator. */
export type Evidence = {
  readonly requestedDurationMs: number
  /** Time with arrivals. */
  readonly durationMs: number
  readonly interrupted: boolean
  readonly requests: number
  /** Of the requests, those sent before the time for arrivals was over. */
  readonly sentInTime: number
  /** Requests in flight when arrivals ended. */
  readonly backlog: number
  readonly missed: number
  readonly answered: number
  readonly errors: number
  /** The causes of failed connections, the most frequent first. */
  readonly errorCodes: readonly string[]
  readonly latency: LatencySummary | null
  readonly sendLag: LatencySummary | null
  readonly stalledMs: number
  readonly longestStallMs: number
}

/** Bounds in one place. Those of `degraded` mark figures to be read with care, those of `invalid` useless ones. */
const bounds = {
  /** Of arrivals: more than one in a hundred missed reaches the 99th percentile. */
  missed: { invalid: 0.01 },
  /** The 99th percentile of send lag: the share of the latency's that is the generator's own, above a floor. */
  sendLag: { floorMs: 5, degraded: 0.1, invalid: 0.5 },
  /** Of the run's time, stood still by the generator. */
  stalled: { invalid: 0.05 },
  /** Of requests, sent after the time for arrivals was over; a single late one is no finding. */
  sentLate: { degraded: 0.01, invalid: 0.05, least: 2 },
  /** Of requests, in flight when arrivals ended. */
  backlog: { degraded: 0.05, least: 2 },
  /** Of requests: like missed arrivals, they reach the 99th percentile. */
  errors: { degraded: 0.01 },
} as const

type Finding = { readonly status: 'degraded' | 'invalid'; readonly reason: string }

/** Judges whether the figures of a run may be trusted, from everything that is known to make them lie. */
export const judge = (evidence: Evidence): Verdict => {
  const findings = rules.map((rule) => rule(evidence)).filter((finding) => finding !== undefined)
  const worstFirst = findings.toSorted((a, b) => Number(b.status === 'invalid') - Number(a.status === 'invalid'))
  return { status: worstFirst[0]?.status ?? 'valid', reasons: worstFirst.map(({ reason }) => reason) }
}

const finding = (isInvalid: boolean, reason: string): Finding => ({
  status: isInvalid ? 'invalid' : 'degraded',
  reason,
})

type Rule = (evidence: Evidence) => Finding | undefined

const nothingAnswered: Rule = ({ answered, requests, errorCodes }) => {
  if (answered > 0) return undefined
  if (requests === 0) return finding(true, 'no request was measured')
  const causes = errorCodes.length === 0 ? '' : `: ${errorCodes.join(', ')}`
  return finding(true, `none of ${formatCount(requests)} requests was answered${causes}`)
}

const arrivalsMissed: Rule = ({ missed, requests }) => {
  if (missed === 0) return undefined
  const share = missed / (missed + requests)
  const reason = `${formatCount(missed)} arrivals (${formatShare(share)}) were not sent: --max-in-flight was reached`
  return finding(share > bounds.missed.invalid, reason)
}

const sendLagTooLarge: Rule = ({ sendLag, latency }) => {
  if (sendLag === null || latency === null || sendLag.p99 < bounds.sendLag.floorMs) return undefined
  const share = sendLag.p99 / Math.max(latency.p99, sendLag.p99)
  if (share < bounds.sendLag.degraded) return undefined
  const reason = `the generator lagged: p99 of send lag is ${formatMs(sendLag.p99)}, ${formatShare(share)} of that of latency`
  return finding(share > bounds.sendLag.invalid, reason)
}

const generatorStalled: Rule = ({ stalledMs, longestStallMs, durationMs }) => {
  if (stalledMs === 0) return undefined
  const reason = `the generator stood still for ${formatDuration(stalledMs)}, up to ${formatDuration(longestStallMs)} at once`
  return finding(stalledMs > bounds.stalled.invalid * durationMs, reason)
}

const sentTooSlowly: Rule = ({ requests, sentInTime }) => {
  const late = requests - sentInTime
  if (late < bounds.sentLate.least || late <= bounds.sentLate.degraded * requests) return undefined
  const reason = `the generator fell behind: it sent ${formatCount(late)} of ${formatCount(requests)} requests after the end`
  return finding(late > bounds.sentLate.invalid * requests, reason)
}

const backlogLeft: Rule = ({ backlog, requests, answered }) => {
  if (answered === 0 || backlog < bounds.backlog.least || backlog <= bounds.backlog.degraded * requests)
    return undefined
  const count = `${formatCount(backlog)} requests (${formatShare(backlog / requests)})`
  return finding(false, `${count} were unanswered when arrivals ended: latency depends on the length of the run`)
}

const manyErrors: Rule = ({ answered, errors, requests }) => {
  const share = errors / requests
  if (answered === 0 || !(share > bounds.errors.degraded)) return undefined
  return finding(false, `${formatShare(share)} of the requests failed: latency includes their answers`)
}

const interruptedEarly: Rule = ({ interrupted, durationMs, requestedDurationMs }) =>
  interrupted
    ? finding(false, `interrupted after ${formatDuration(durationMs)} of ${formatDuration(requestedDurationMs)}`)
    : undefined

const rules: readonly Rule[] = [
  nothingAnswered,
  arrivalsMissed,
  sendLagTooLarge,
  generatorStalled,
  sentTooSlowly,
  backlogLeft,
  manyErrors,
  interruptedEarly,
]
