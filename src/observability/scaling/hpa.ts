import type { ObservabilityOptions } from '../options.ts'
import { yamlFile } from '../yaml-file.ts'
import { behavior, cpuTargetPercent, replicaBounds, scalingMetrics, type ScalingMetricName } from './targets.ts'

type Json = Readonly<Record<string, unknown>>

/** A HorizontalPodAutoscaler (autoscaling/v2) that scales a Deployment on these metrics; the highest proposal wins. */
const hpa = ({ deployment }: ObservabilityOptions, metrics: readonly Json[]): Json => ({
  apiVersion: 'autoscaling/v2',
  kind: 'HorizontalPodAutoscaler',
  metadata: { name: deployment },
  spec: {
    scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: deployment },
    minReplicas: replicaBounds.min,
    maxReplicas: replicaBounds.max,
    metrics,
    behavior,
  },
})

/** CPU of one container: sidecars would dilute the mean of the pod, and one of them without a request ends the scaling. */
const cpu = (container: string): Json => ({
  type: 'ContainerResource',
  containerResource: {
    name: 'cpu',
    container,
    target: { type: 'Utilization', averageUtilization: cpuTargetPercent },
  },
})

const pods = (metric: ScalingMetricName): Json => {
  const { name, target } = scalingMetrics[metric]
  return { type: 'Pods', pods: { metric: { name }, target: { type: 'AverageValue', averageValue: quantity(target) } } }
}

/** A number in Kubernetes' notation, to the thousandth: `40`, `650m`. */
export const quantity = (value: number): string =>
  Number.isInteger(value) ? String(value) : `${Math.round(value * 1_000)}m`

const heading = (what: string, ...more: readonly string[]): readonly string[] => [
  what,
  ...more,
  '',
  'One of these files for one Deployment: two HPAs on the same pods stop each other (AmbiguousSelector).',
  'Take `replicas` out of the Deployment: each `kubectl apply` of it would undo what the HPA has decided.',
  'Targets, and how to find your own: docs/scaling.md.',
]

const needsAdapter = 'Needs the custom metrics API: prometheus-adapter with the rules beside this file.'

/** HPAs by file name, one for each measure of load. */
export const hpaFiles = (options: ObservabilityOptions): Readonly<Record<string, string>> => ({
  'hpa-cpu.yaml': yamlFile(
    heading('Scales on CPU: needs nothing but metrics-server, and a CPU request on the container.'),
    hpa(options, [cpu(options.deployment)]),
  ),
  'hpa-in-flight.yaml': yamlFile(
    heading('Scales on requests in flight, waiting ones included: for work that waits.', needsAdapter),
    hpa(options, [pods('inFlight')]),
  ),
  'hpa-event-loop.yaml': yamlFile(
    heading('Scales on the utilisation of the event loop: for work that computes on it.', needsAdapter),
    hpa(options, [pods('eventLoop')]),
  ),
  'hpa-queue.yaml': yamlFile(
    heading(
      'Scales on CPU, and on requests that wait for admission as a second opinion.',
      'Not on the queue alone: an empty one proposes no replicas at all, and the HPA would fall to minReplicas.',
      needsAdapter,
    ),
    hpa(options, [cpu(options.deployment), pods('queue')]),
  ),
})
