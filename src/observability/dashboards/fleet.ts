import type { ObservabilityOptions } from '../options.ts'
import { aggregate, type MetricName, type Scope, select, type Slice } from '../promql.ts'
import { eventLoopUtilisation, hpaWants, meanInFlight, nearestLimit, queueDepth, requestRate } from '../queries.ts'
import type { Dashboard } from './dashboard.ts'
import type { Panel, Query } from './panel.ts'
import { allTraces } from './traces.ts'
import { chosen, dataSources, jobAndInstance, type LabelVariable } from './variables.ts'

const window = '$__rate_interval'
const all: Slice = { scope: chosen, window }
const each: Slice = { ...all, by: ['instance'] }

const hpa: Scope = 'namespace=~"$namespace",horizontalpodautoscaler=~"$hpa"'
const deployment: Scope = 'namespace=~"$namespace",deployment=~"$deployment"'

/**
 * How many replicas there are, should be and why. What Kubernetes knows comes from kube-state-metrics; without it, the rows
 * about load and spread still show what the replicas say themselves.
 */
export const fleetDashboard = (options: ObservabilityOptions): Dashboard => ({
  uid: 'plimsoll-fleet',
  title: 'Plimsoll / Fleet and autoscaling',
  description:
    'Desired, current and ready replicas, why the autoscaler wants that many, and how evenly they share the load.',
  variables: [
    ...dataSources(options.traces),
    ...jobAndInstance('http_server_active_requests', options.job),
    ...kubernetes(options.deployment),
  ],
  starts: select('process_start_time_seconds', chosen),
  links: [allTraces(options.traces)],
  rows: [
    { title: 'Replicas', panels: replicas },
    { title: 'Why: what the autoscaler sees', panels: reasons },
    { title: 'Load of each replica', panels: spread },
    { title: 'Restarts', panels: restarts },
  ],
})

const kubernetes = (name: string): readonly LabelVariable[] => [
  {
    kind: 'label',
    name: 'namespace',
    label: 'Namespace',
    of: 'namespace',
    on: 'kube_deployment_spec_replicas',
    several: true,
  },
  {
    kind: 'label',
    name: 'deployment',
    label: 'Deployment',
    of: 'deployment',
    on: 'kube_deployment_spec_replicas',
    scope: 'namespace=~"$namespace"',
    first: name,
  },
  {
    kind: 'label',
    name: 'hpa',
    label: 'HPA',
    of: 'horizontalpodautoscaler',
    on: 'kube_horizontalpodautoscaler_spec_max_replicas',
    scope: 'namespace=~"$namespace"',
    first: name,
  },
]

const ofHpa = (metric: MetricName): string => aggregate('max', [], select(metric, hpa))
const ofDeployment = (metric: MetricName): string => aggregate('max', [], select(metric, deployment))

const desired: Query = {
  expr: ofHpa('kube_horizontalpodautoscaler_status_desired_replicas'),
  legend: 'desired by the HPA',
  meaning: 'usual',
}
const current: Query = {
  expr: ofDeployment('kube_deployment_status_replicas'),
  legend: 'current',
  meaning: 'second',
}
const ready: Query = {
  expr: ofDeployment('kube_deployment_status_replicas_ready'),
  legend: 'ready',
  meaning: 'ok',
}
const takingTraffic: Query = {
  expr: aggregate('sum', [], select('plimsoll_ready', chosen)),
  legend: 'ready, as they say',
  meaning: 'third',
}

const replicas: readonly Panel[] = [
  ...[
    { title: 'Desired', description: 'Replicas that the HPA wants.', query: desired },
    { title: 'Current', description: 'Pods that the Deployment has, ready or not.', query: current },
    { title: 'Ready', description: 'Pods that Kubernetes sends traffic to.', query: ready },
    {
      title: 'Ready, as they say',
      description: 'Replicas that say of themselves that they take traffic. Needs no Kubernetes.',
      query: takingTraffic,
    },
  ].map(
    ({ title, description, query }): Panel => ({
      kind: 'number',
      title,
      description,
      unit: 'short',
      queries: [query],
    }),
  ),
  {
    kind: 'number',
    title: 'At the maximum',
    description: 'Desired replicas as a share of maxReplicas. At 1 the HPA cannot help any more.',
    unit: 'percentunit',
    queries: [
      {
        expr: `${desired.expr} / ${ofHpa('kube_horizontalpodautoscaler_spec_max_replicas')}`,
        legend: 'of the maximum',
      },
    ],
    thresholds: [
      [0.8, 'slow'],
      [1, 'error'],
    ],
  },
  {
    kind: 'number',
    title: 'Scraped',
    description: 'Instances of the job that Prometheus reaches.',
    unit: 'short',
    queries: [{ expr: aggregate('sum', [], select('up', 'job=~"$job"')), legend: 'up' }],
  },
  {
    kind: 'lines',
    title: 'Replicas',
    description:
      'Desired, current and ready replicas between the least and the most that the HPA may have. Current below desired: no room on the ' +
      'nodes. Ready below current: they start, or are not well.',
    unit: 'short',
    width: 24,
    height: 10,
    queries: [
      desired,
      current,
      ready,
      takingTraffic,
      {
        expr: ofDeployment('kube_deployment_spec_replicas'),
        legend: 'asked of the Deployment',
        meaning: 'slow',
      },
      {
        expr: ofDeployment('kube_deployment_status_replicas_unavailable'),
        legend: 'unavailable',
        meaning: 'error',
      },
      { expr: ofHpa('kube_horizontalpodautoscaler_spec_min_replicas'), legend: 'minimum', meaning: 'limit' },
      { expr: ofHpa('kube_horizontalpodautoscaler_spec_max_replicas'), legend: 'maximum', meaning: 'limit' },
    ],
  },
]

const metricLabels = ['metric_name', 'metric_target_type'] as const

const reasons: readonly Panel[] = [
  {
    kind: 'lines',
    title: 'Replicas that each metric asks for',
    description:
      'Current replicas x value / target, rounded up, by metric: the highest one decides. Before the tolerance of 10 %, the ' +
      'stabilisation window and the limits of `behavior`, and without the correction for pods that are not ready.',
    unit: 'short',
    queries: [
      { expr: hpaWants(hpa), legend: '{{metric_name}}' },
      {
        expr: ofHpa('kube_horizontalpodautoscaler_status_current_replicas'),
        legend: 'current',
        meaning: 'limit',
      },
    ],
  },
  {
    kind: 'table',
    title: 'Metrics and their targets',
    description:
      'What the HPA measures (Value #A) and what it aims at (Value #B), by metric: `average` per pod, `utilization` in percent of the ' +
      'request, `value` as a whole.',
    unit: 'short',
    queries: [
      {
        expr: aggregate('max', metricLabels, select('kube_horizontalpodautoscaler_status_target_metric', hpa)),
        legend: 'value',
      },
      {
        expr: aggregate('max', metricLabels, select('kube_horizontalpodautoscaler_spec_target_metric', hpa)),
        legend: 'target',
      },
    ],
  },
  {
    kind: 'states',
    title: 'What holds the autoscaler',
    description:
      'Conditions of the HPA. AbleToScale no: the Deployment cannot be scaled. ScalingActive no: no metric can be read, and nothing ' +
      'is scaled down either. ScalingLimited yes: minimum, maximum or a limit of `behavior` holds it back; `kubectl describe hpa` ' +
      'names the reason.',
    unit: 'short',
    queries: [
      {
        expr: aggregate(
          'max',
          ['condition'],
          select('kube_horizontalpodautoscaler_status_condition', hpa, 'status="true"'),
        ),
        legend: '{{condition}}',
      },
    ],
  },
]

const spread: readonly Panel[] = [
  {
    kind: 'stacked',
    title: 'Share of the load',
    description: 'Share of all requests that each replica gets. Evenly: 1 / replicas each.',
    unit: 'percentunit',
    softMax: 1,
    queries: [{ expr: `${requestRate(each)} / scalar(${requestRate(all)})`, legend: '{{instance}}' }],
  },
  {
    kind: 'lines',
    title: 'Skew of the load',
    description:
      'Load of the busiest replica over the mean of all: 1 is even. An average over pods, as the HPA makes it, hides what lies above; long ' +
      'keep-alive connections to old pods are the usual cause.',
    unit: 'short',
    queries: [
      {
        expr: `${aggregate('max', [], requestRate(each))} / ${aggregate('avg', [], requestRate(each))}`,
        legend: 'requests',
      },
      {
        expr: `${aggregate('max', [], meanInFlight(each))} / ${aggregate('avg', [], meanInFlight(each))}`,
        legend: 'in flight',
      },
    ],
    thresholds: [
      [1.25, 'slow'],
      [2, 'error'],
    ],
  },
  {
    kind: 'lines',
    title: 'Nearest limit of each replica',
    description: 'How full the fullest resource of each replica is; the dashboard "Saturation of a replica" names it.',
    unit: 'percentunit',
    softMax: 1,
    queries: [{ expr: nearestLimit(each), legend: '{{instance}}' }],
    thresholds: [
      [0.7, 'slow'],
      [0.9, 'error'],
    ],
  },
  {
    kind: 'lines',
    title: 'In flight per replica',
    description:
      'Mean number of requests that were not answered yet: what to scale on where requests wait. See docs/scaling.md.',
    unit: 'short',
    queries: [{ expr: meanInFlight(each), legend: '{{instance}}' }],
  },
  {
    kind: 'lines',
    title: 'Event loop utilisation per replica',
    description: 'Share of time that the loops of each replica were active: what to scale on where requests compute.',
    unit: 'percentunit',
    softMax: 1,
    queries: [{ expr: eventLoopUtilisation(each), legend: '{{instance}}' }],
    thresholds: [[0.65, 'slow']],
  },
  {
    kind: 'lines',
    title: 'Waiting for admission per replica',
    description:
      'Mean number of requests that waited for admission: too late a sign to scale on alone, but a sure one.',
    unit: 'short',
    queries: [{ expr: queueDepth(each), legend: '{{instance}}' }],
  },
]

const restarts: readonly Panel[] = [
  {
    kind: 'lines',
    title: 'Container restarts',
    description:
      'Restarts of containers in the time shown, by pod. A restart that nobody asked for: look at the last termination reason.',
    unit: 'short',
    width: 12,
    queries: [
      {
        expr: aggregate(
          'sum',
          ['pod'],
          `increase(${select('kube_pod_container_status_restarts_total', 'namespace=~"$namespace",pod=~"($deployment)-.*"')}[$__range])`,
        ),
        legend: '{{pod}}',
      },
    ],
  },
  {
    kind: 'lines',
    title: 'Age of processes',
    description: 'How long each process runs. A saw tooth: it is restarted over and over.',
    unit: 's',
    width: 12,
    queries: [
      {
        expr: aggregate('min', ['instance'], `time() - ${select('process_start_time_seconds', chosen)}`),
        legend: '{{instance}}',
      },
    ],
  },
]
