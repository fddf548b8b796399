import type { Scope, Slice } from '../promql.ts'
import { eventLoopUtilisation, meanInFlight, queueDepth } from '../queries.ts'

/** A measure of load to scale on, and how much of it one replica should have. */
export type ScalingMetric = {
  /** What the custom metrics API calls it. */
  readonly name: string
  /** Its value for one replica, or for each of several that `by` keeps apart. */
  readonly query: (slice: Slice) => string
  /** A series that each replica has as soon as it is scraped, by which adapters find the metric. */
  readonly foundBy:
    | 'plimsoll_requests_seconds_total'
    | 'nodejs_eventloop_time_seconds_total'
    | 'plimsoll_admission_queued_seconds_total'
  /** The mean per replica that the autoscaler aims at. */
  readonly target: number
}

/**
 * Over how long a rate is taken: four scrapes at the usual 15 s, so that one that is missed does not leave a gap. Longer only
 * delays: the integrals are exact over any time.
 */
export const scalingWindow = '1m'

/** Percent of the CPU request of the container. */
export const cpuTargetPercent = 65

/** The measures of load, with targets to begin with; docs/scaling.md says how to find one's own. */
export const scalingMetrics = {
  inFlight: {
    name: 'plimsoll_in_flight',
    query: meanInFlight,
    foundBy: 'plimsoll_requests_seconds_total',
    target: 40,
  },
  eventLoop: {
    name: 'plimsoll_eventloop_utilisation',
    query: eventLoopUtilisation,
    foundBy: 'nodejs_eventloop_time_seconds_total',
    target: 0.65,
  },
  queue: {
    name: 'plimsoll_admission_queue_depth',
    query: queueDepth,
    foundBy: 'plimsoll_admission_queued_seconds_total',
    target: 2,
  },
} as const satisfies Readonly<Record<string, ScalingMetric>>

export type ScalingMetricName = keyof typeof scalingMetrics

/** The sum over all replicas: what an External metric with a target per replica is divided from. */
export const fleetTotal = ({ query }: ScalingMetric, scope: Scope): string =>
  `sum(${query({ scope, window: scalingWindow, by: ['instance'] })})`

/** How many replicas there may be, to be set for the service in question: two survive the loss of one. */
export const replicaBounds = { min: 2, max: 10 } as const

/**
 * How fast the number of replicas may change. Up: at once and at most to twice as many each 15 s, or by four where that
 * is more: what the API takes by default, written out because a `behavior` that is there at all changes other rules as
 * well. Down: to the most that was wanted in the last 5 minutes, and then by a tenth a minute (at least one replica: the result
 * is rounded down), because too many replicas cost little and too few cost users.
 */
export const behavior = {
  scaleUp: {
    stabilizationWindowSeconds: 0,
    selectPolicy: 'Max',
    policies: [
      { type: 'Percent', value: 100, periodSeconds: 15 },
      { type: 'Pods', value: 4, periodSeconds: 15 },
    ],
  },
  scaleDown: {
    stabilizationWindowSeconds: 300,
    selectPolicy: 'Max',
    policies: [{ type: 'Percent', value: 10, periodSeconds: 60 }],
  },
} as const
