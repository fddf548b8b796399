import type { ObservabilityOptions } from '../options.ts'
import type { Scope } from '../promql.ts'
import { yamlFile } from '../yaml-file.ts'
import {
  behavior,
  cpuTargetPercent,
  fleetTotal,
  replicaBounds,
  scalingMetrics,
  type ScalingMetricName,
} from './targets.ts'

type Json = Readonly<Record<string, unknown>>

const serverAddress = 'http://prometheus.monitoring.svc:9090'

const scaledObject = ({ deployment }: ObservabilityOptions, triggers: readonly Json[]): Json => ({
  apiVersion: 'keda.sh/v1alpha1',
  kind: 'ScaledObject',
  metadata: { name: deployment },
  spec: {
    scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: deployment },
    minReplicaCount: replicaBounds.min,
    maxReplicaCount: replicaBounds.max,
    advanced: { horizontalPodAutoscalerConfig: { name: deployment, behavior } },
    triggers,
  },
})

const cpu = (containerName: string): Json => ({
  type: 'cpu',
  metricType: 'Utilization',
  metadata: { containerName, value: String(cpuTargetPercent) },
})

/** The expressions that KEDA asks Prometheus: totals, which it divides by the number of replicas. */
export const kedaQueries = ({ job }: ObservabilityOptions): Readonly<Record<ScalingMetricName, string>> => {
  const scope: Scope = `job="${job}"`
  return {
    inFlight: fleetTotal(scalingMetrics.inFlight, scope),
    eventLoop: fleetTotal(scalingMetrics.eventLoop, scope),
    queue: fleetTotal(scalingMetrics.queue, scope),
  }
}

const prometheus = (options: ObservabilityOptions, metric: ScalingMetricName): Json => ({
  type: 'prometheus',
  name: scalingMetrics[metric].name.replaceAll('_', '-'),
  metricType: 'AverageValue',
  metadata: {
    serverAddress,
    query: kedaQueries(options)[metric],
    threshold: String(scalingMetrics[metric].target),
    // No data is an error, which holds the number of replicas; taken for 0 it would scale a busy service to its minimum.
    ignoreNullValues: 'false',
  },
})

const heading = (what: string, ...more: readonly string[]): readonly string[] => [
  what,
  ...more,
  '',
  'KEDA makes the HPA itself: no other HPA for this Deployment, and no `replicas` in it.',
  'Its pollingInterval and cooldownPeriod matter only between 0 and 1 replicas; from 1 on the HPA decides, each 15 s.',
  'No data is an error and holds the number of replicas (ignoreNullValues), instead of scaling a busy service down.',
  'Set serverAddress. Targets, and how to find your own: docs/scaling.md.',
]

/** ScaledObjects by file name, one for each measure of load. */
export const kedaFiles = (options: ObservabilityOptions): Readonly<Record<string, string>> => ({
  'keda-cpu.yaml': yamlFile(
    heading('Scales on CPU: needs metrics-server, and a CPU request on the container.'),
    scaledObject(options, [cpu(options.deployment)]),
  ),
  'keda-in-flight.yaml': yamlFile(
    heading('Scales on requests in flight, waiting ones included: for work that waits.'),
    scaledObject(options, [prometheus(options, 'inFlight')]),
  ),
  'keda-event-loop.yaml': yamlFile(
    heading('Scales on the utilisation of the event loop: for work that computes on it.'),
    scaledObject(options, [prometheus(options, 'eventLoop')]),
  ),
  'keda-queue.yaml': yamlFile(
    heading(
      'Scales on CPU, and on requests that wait for admission as a second opinion.',
      'Not on the queue alone: an empty one proposes no replicas at all, and the HPA would fall to minReplicaCount.',
    ),
    scaledObject(options, [cpu(options.deployment), prometheus(options, 'queue')]),
  ),
})
