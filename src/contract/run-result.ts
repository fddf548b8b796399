/** Version of `RunResult`. It grows when a field changes its meaning or goes; a new field does not change it. */
export const runSchemaVersion = 1

export type Arrivals = 'constant' | 'poisson'

/**
 * How a request ended: `ok` is a status under 400, `httpError` any other answer, `timeout` no complete answer in
 * time, `connectionError` no connection or a broken one, `censored` still unanswered when the run was closed.
 */
export const outcomes = ['ok', 'httpError', 'timeout', 'connectionError', 'censored'] as const
export type Outcome = (typeof outcomes)[number]

/** Milliseconds, to the microsecond; percentiles have three significant digits. */
export type LatencySummary = {
  readonly mean: number
  readonly p50: number
  readonly p90: number
  readonly p95: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

/** A histogram of microseconds that any implementation of HdrHistogram reads, so that results can be merged. */
export type EncodedHistogram = { readonly encoding: 'HdrHistogram V2 base64'; readonly data: string }

/** One second of the run, warm-up and the wait for the last answers included. */
export type TimelinePoint = {
  /** Since `startedAt`. */
  readonly atMs: number
  readonly sent: number
  /** Answers that arrived in this second, whatever their status. */
  readonly answered: number
  /** Requests that ended in this second as `httpError`, `timeout` or `connectionError`. */
  readonly errors: number
  /** Latency in ms of what ended in this second; null when nothing did. */
  readonly p50: number | null
  readonly p99: number | null
  /** At the end of the second. */
  readonly inFlight: number
}

export type SloOutcome = {
  /** As it was asked for: `p99<100ms`. */
  readonly expression: string
  /** In ms, as a share of requests, or per second; null when nothing was measured, which fails the SLO. */
  readonly observed: number | null
  readonly passed: boolean
}

/**
 * `valid`: the figures may be used. `degraded`: they may, with the reasons in mind. `invalid`: they say more about
 * the generator, or about nothing, than about the service.
 */
export type Verdict = { readonly status: 'valid' | 'degraded' | 'invalid'; readonly reasons: readonly string[] }

/**
 * The result of a load run. All counts and histograms leave out requests whose intended start lies in the warm-up.
 */
export type RunResult = {
  readonly schemaVersion: typeof runSchemaVersion
  readonly kind: 'run'
  readonly id: string
  readonly tool: { readonly name: string; readonly version: string; readonly revision: string }
  /** ISO 8601, the start of the schedule and so of the warm-up. */
  readonly startedAt: string
  /** The same seed and request plan the same arrivals. */
  readonly seed: number
  readonly requested: {
    readonly targets: readonly string[]
    readonly method: string
    /** Names only: values may be secrets. */
    readonly headers: readonly string[]
    readonly bodyBytes: number
    /** Per second, over all targets. */
    readonly rate: number
    /** Without the warm-up. */
    readonly durationMs: number
    readonly warmupMs: number
    readonly arrivals: Arrivals
    readonly timeoutMs: number
    readonly maxInFlight: number
    readonly connections: number
  }
  readonly achieved: {
    /** Answers, whatever their status, that arrived while arrivals were planned: the throughput. */
    readonly ratePerSecond: number
    /** Requests that were sent while arrivals were planned: under `rate` when the generator fell behind. */
    readonly sentPerSecond: number
    /** Requests sent; the outcomes add up to this. */
    readonly requests: number
    /** Arrivals that were not sent because `maxInFlight` requests were unanswered. */
    readonly missed: number
    /** Time with planned arrivals, without the warm-up; shorter than asked when interrupted. */
    readonly durationMs: number
    readonly interrupted: boolean
  }
  /**
   * From the intended start to the last byte of the answer, so that waiting behind a stalled service counts (no
   * coordinated omission). Every answer counts, whatever its status; a timed-out or censored request counts with the
   * age at which it was given up, a lower bound; a failed connection does not count. Null when nothing counts.
   */
  readonly latencyMs: LatencySummary | null
  /** The same requests from the actual send, which includes connecting when no open connection was free. */
  readonly serviceTimeMs: LatencySummary | null
  /** From the intended start to the actual send, of every request sent: the generator's own delay. */
  readonly sendLagMs: LatencySummary | null
  readonly outcomes: Readonly<Record<Outcome, number>>
  readonly statuses: Readonly<Record<string, number>>
  /** Connection errors by code. */
  readonly errors: Readonly<Record<string, number>>
  /** Answers by the `Plimsoll-Instance` header; empty when the service does not send it. */
  readonly instances: Readonly<Record<string, { readonly requests: number; readonly errors: number }>>
  readonly timeline: readonly TimelinePoint[]
  /** `failures` holds the latency of `httpError`, `timeout` and `connectionError`. */
  readonly histograms: Readonly<Record<'latency' | 'serviceTime' | 'sendLag' | 'failures', EncodedHistogram>>
  readonly slos: readonly SloOutcome[]
  readonly verdict: Verdict
}
