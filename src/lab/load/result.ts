import {
  runSchemaVersion,
  type EncodedHistogram,
  type LatencySummary,
  type RunResult,
} from '../../contract/run-result.ts'
import { histogramEncoding, type Histogram } from '../../kit/histogram.ts'
import type { LoadOptions } from './options.ts'
import type { Recorder } from './recorder.ts'
import { judgeSlo, type Observed } from './slo.ts'
import { judge } from './verdict.ts'

/** What the run cannot know of itself. */
export type RunIdentity = {
  readonly id: string
  readonly tool: RunResult['tool']
  /** When the run started. */
  readonly startedAt: Date
}

/** The result of a run that is over. */
export const toRunResult = (
  identity: RunIdentity,
  options: LoadOptions,
  recorder: Recorder,
  interrupted: boolean,
): RunResult => {
  const achieved = achievedOf(recorder, options, interrupted)
  const latencyMs = summaryOf(recorder.latency)
  const sendLagMs = summaryOf(recorder.sendLag)
  return {
    schemaVersion: runSchemaVersion,
    kind: 'run',
    id: identity.id,
    tool: identity.tool,
    startedAt: identity.startedAt.toISOString(),
    seed: options.seed,
    requested: requestedOf(options),
    achieved,
    latencyMs,
    serviceTimeMs: summaryOf(recorder.serviceTime),
    sendLagMs,
    outcomes: recorder.outcomes,
    statuses: Object.fromEntries(recorder.statuses),
    errors: Object.fromEntries(mostFrequentFirst(recorder.errors)),
    instances: Object.fromEntries([...recorder.instances].sort(([a], [b]) => a.localeCompare(b))),
    timeline: recorder.timeline,
    histograms: {
      latency: encoded(recorder.latency),
      serviceTime: encoded(recorder.serviceTime),
      sendLag: encoded(recorder.sendLag),
      failures: encoded(recorder.failures),
    },
    slos: options.slos.map((slo) => judgeSlo(slo, observedIn(recorder, achieved))),
    verdict: judge({
      ...achieved,
      requestedDurationMs: options.durationMs,
      sentInTime: recorder.sentInTime,
      backlog: recorder.backlog,
      answered: recorder.outcomes.ok + recorder.outcomes.httpError,
      errors: errorsIn(recorder),
      errorCodes: mostFrequentFirst(recorder.errors).map(([code]) => code),
      latency: latencyMs,
      sendLag: sendLagMs,
      stalledMs: recorder.stalledMs,
      longestStallMs: recorder.longestStallMs,
    }),
  }
}

const requestedOf = (options: LoadOptions): RunResult['requested'] => ({
  targets: options.targets,
  method: options.method,
  headers: options.headers.map(([name]) => name),
  bodyBytes: options.body?.byteLength ?? 0,
  rate: options.ratePerSecond,
  durationMs: options.durationMs,
  warmupMs: options.warmupMs,
  arrivals: options.arrivals,
  timeoutMs: options.timeoutMs,
  maxInFlight: options.maxInFlight,
  connections: options.connections,
})

const achievedOf = (recorder: Recorder, { warmupMs }: LoadOptions, interrupted: boolean): RunResult['achieved'] => {
  const durationMs = Math.max(0, recorder.arrivalsEndedMs - warmupMs)
  const perSecond = (count: number): number => (durationMs === 0 ? 0 : toThousandths((count * 1_000) / durationMs))
  return {
    ratePerSecond: perSecond(recorder.answeredInTime),
    sentPerSecond: perSecond(recorder.sentInTime),
    requests: recorder.requests,
    missed: recorder.missedArrivals,
    durationMs: toThousandths(durationMs),
    interrupted,
  }
}

const summaryOf = (histogram: Histogram): LatencySummary | null =>
  histogram.count === 0
    ? null
    : {
        mean: histogram.meanMs,
        p50: histogram.percentileMs(50),
        p90: histogram.percentileMs(90),
        p95: histogram.percentileMs(95),
        p99: histogram.percentileMs(99),
        p999: histogram.percentileMs(99.9),
        max: histogram.maxMs,
      }

const observedIn = (recorder: Recorder, { ratePerSecond }: RunResult['achieved']): Observed => {
  const { latency, requests } = recorder
  const whenMeasured = (value: number): number | null => (latency.count === 0 ? null : value)
  return {
    percentileMs: (percentile) => whenMeasured(latency.percentileMs(percentile)),
    meanMs: whenMeasured(latency.meanMs),
    maxMs: whenMeasured(latency.maxMs),
    errorShare: requests === 0 ? null : errorsIn(recorder) / requests,
    ratePerSecond,
  }
}

const errorsIn = ({ outcomes }: Recorder): number => outcomes.httpError + outcomes.timeout + outcomes.connectionError

const encoded = (histogram: Histogram): EncodedHistogram => ({ encoding: histogramEncoding, data: histogram.encode() })

const mostFrequentFirst = (counts: ReadonlyMap<string, number>): [string, number][] =>
  [...counts].sort(([, a], [, b]) => b - a)

const toThousandths = (value: number): number => Math.round(value * 1_000) / 1_000
