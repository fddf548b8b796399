import { aggregate, select } from '../promql.ts'
import type { LimitedResource } from '../queries.ts'
import { records } from './recording.ts'
import { type Alert, ofJob, recorded, type RuleOptions } from './rule.ts'

/** Alerts on whether there are as many replicas as there should be. */
export const fleetAlerts = (options: RuleOptions): Alert[] => [
  ...presenceAlerts(options),
  crashAlert(options),
  ...autoscalingAlerts(options),
]

const presenceAlerts = (options: RuleOptions): Alert[] => {
  const scope = ofJob(options)
  return [
    {
      name: 'PlimsollDown',
      severity: 'page',
      expr: `absent(${select('plimsoll_ready', scope)} == 1)`,
      for: '2m',
      // What is absent has no labels that could be used here.
      labels: { job: options.job },
      summary: `No replica of ${options.job} takes traffic`,
      description: 'Of all replicas that Prometheus sees none is ready; or it sees none (expected: at least 1).',
    },
    {
      name: 'PlimsollReplicaDown',
      severity: 'ticket',
      expr: `${select('up', scope)} == 0`,
      for: '5m',
      summary: 'Prometheus gets no metrics of {{ $labels.instance }}',
      description: 'The admin port of {{ $labels.instance }} has not answered its last scrapes (up is {{ $value }}).',
    },
    {
      name: 'PlimsollNotReady',
      severity: 'ticket',
      expr: `${select('plimsoll_ready', scope)} == 0`,
      for: '5m',
      summary: '{{ $labels.instance }} runs and takes no traffic',
      description: 'The replica has not been ready for 5 minutes; starting and draining take seconds.',
    },
  ]
}

const crashAlert = (options: RuleOptions): Alert => {
  const scope = ofJob(options)
  const starts = `max by (job, instance) (changes(${select('process_start_time_seconds', scope)}[15m]))`
  const replaced = `sum by (job, instance) (increase(${select('plimsoll_worker_restarts_total', scope)}[15m]))`
  return {
    name: 'PlimsollCrashLoop',
    severity: 'page',
    // Quick crashes of a worker fall between two scrapes, where only the parent's count sees them.
    expr: `${replaced} > 3\nor ${starts} > 3`,
    for: '1m',
    keepFiringFor: '10m',
    summary: 'Processes of {{ $labels.instance }} crash again and again',
    description: '{{ $value | printf "%.0f" }} times in the last 15m a process had to be started anew (limit 3).',
  }
}

/** Resources that more replicas would have more of: memory, heap and descriptors are filled by each on its own. */
const ofLoad: readonly LimitedResource[] = ['event loop', 'cpu', 'admission', 'threads', 'connection pool']

const autoscalingAlerts = (options: RuleOptions): Alert[] => {
  const hpa = `horizontalpodautoscaler=${JSON.stringify(options.deployment)}`
  const deployment = `deployment=${JSON.stringify(options.deployment)}`
  const by = ['namespace', 'horizontalpodautoscaler']
  const desired = aggregate('max', by, select('kube_horizontalpodautoscaler_status_desired_replicas', hpa))
  const most = aggregate('max', by, select('kube_horizontalpodautoscaler_spec_max_replicas', hpa))
  const load = recorded(records.saturation, ofJob(options), `resource=~"${ofLoad.join('|')}"`)
  const failing = 'condition=~"AbleToScale|ScalingActive",status="false"'
  return [
    {
      name: 'PlimsollHpaAtMaximum',
      severity: 'ticket',
      expr: `${desired} >= ${most}\nand on () (avg(max by (instance) (${load})) > 0.8)`,
      for: '15m',
      summary: 'HPA {{ $labels.horizontalpodautoscaler }} may not add replicas, and those there are full',
      description:
        'The HPA wants its maximum of {{ $value | printf "%.0f" }} replicas, and they use more than 80 % of what ' +
        'limits them, on average.',
    },
    {
      name: 'PlimsollHpaUnableToScale',
      severity: 'ticket',
      expr: `${select('kube_horizontalpodautoscaler_status_condition', hpa, failing)} == 1`,
      for: '10m',
      summary: 'HPA {{ $labels.horizontalpodautoscaler }} does not scale',
      description: 'Its condition {{ $labels.condition }} is false: the number of replicas stays as it is.',
    },
    {
      name: 'PlimsollReplicasMissing',
      severity: 'ticket',
      expr:
        `${select('kube_deployment_spec_replicas', deployment)}\n` +
        `> ${select('kube_deployment_status_replicas_available', deployment)}`,
      for: '15m',
      summary: 'Deployment {{ $labels.deployment }} has fewer replicas than it should have',
      description: '{{ $value | printf "%.0f" }} replicas are asked for, and fewer are available since 15 minutes.',
    },
  ]
}
