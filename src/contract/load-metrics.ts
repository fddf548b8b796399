import type { MetricInfo } from '../kit/metrics.ts'
import { bounds } from './metrics.ts'
import { outcomes } from './run-result.ts'

const counter = (help: string, ...labels: string[]): MetricInfo => ({ type: 'counter', help, labels })
const gauge = (help: string, ...labels: string[]): MetricInfo => ({ type: 'gauge', help, labels })
const histogram = (help: string, ...labels: string[]): MetricInfo => ({ type: 'histogram', help, labels })

/**
 * Every metric of a load run, by its name on the port of `plimsoll load --metrics-port`. They show a run while it goes on;
 * its result, with finer histograms, stays the truth. The warm-up is in the counts and, as in the result, not in the
 * histograms. The id of the run is a label of `plimsoll_load_run_info` alone: on all series it would begin a new set of them
 * at each run.
 */
export const loadMetrics = {
  plimsoll_load_arrivals_total: counter('Requests that the schedule has asked for until now.'),
  plimsoll_load_sent_total: counter('Requests that were sent.'),
  plimsoll_load_missed_total: counter('Arrivals that were not sent, because too many requests were unanswered.'),
  plimsoll_load_answers_total: counter('Requests that ended, by how they ended.', 'outcome'),
  plimsoll_load_in_flight: gauge('Requests that were sent and have not ended.'),
  plimsoll_load_latency_seconds: histogram(
    'Time from when a request was meant to start until its end. What a user would have waited.',
  ),
  plimsoll_load_service_seconds: histogram('Time from the sending of a request until its end.'),
  plimsoll_load_send_lag_seconds: histogram('How much later than meant requests were sent.'),
  plimsoll_load_rate_asked_per_second: gauge('Requests per second that the run was asked for; 0 before and after it.'),
  plimsoll_load_run_info: gauge('1, with the run that these figures are of.', 'run_id', 'arrivals'),
} as const satisfies Readonly<Record<string, MetricInfo>>

export type LoadMetricName = keyof typeof loadMetrics

/** The values of the label `outcome`. */
export const loadOutcomes = outcomes

/** Upper bounds of the histograms of a load run, in seconds. */
export const loadBounds = {
  latency: Object.freeze([0.001, 0.0025, ...bounds.request]),
  sendLag: Object.freeze([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1]),
} as const
