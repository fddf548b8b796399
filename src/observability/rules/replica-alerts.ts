import { select } from '../promql.ts'
import type { LimitedResource } from '../queries.ts'
import { records } from './recording.ts'
import { type Alert, ofJob, recorded, type RuleOptions } from './rule.ts'

/** Alerts on what one replica has too little of. None of them says that users are hurt: the budgets do. */
export const replicaAlerts = (options: RuleOptions): Alert[] => [
  ...eventLoopAlerts(options),
  ...cpuAlerts(options),
  ...memoryAlerts(options),
  saturated(options, {
    name: 'PlimsollThreadsSaturated',
    resource: 'threads',
    above: 0.9,
    summary: 'The threads for CPU work are all busy at {{ $labels.instance }}',
    what: 'of the threads were at work on average in the last 5m',
  }),
  saturated(options, {
    name: 'PlimsollFileDescriptorsNearLimit',
    resource: 'file descriptors',
    above: 0.8,
    summary: '{{ $labels.instance }} is running out of file descriptors',
    what: 'of the file descriptors that the process may have are open',
  }),
]

type Saturation = {
  readonly name: string
  readonly resource: LimitedResource
  /** A share of the limit. */
  readonly above: number
  readonly summary: string
  /** What the share is a share of. */
  readonly what: string
}

/** A resource of which hardly anything is left. */
export const saturated = (options: RuleOptions, { name, resource, above, summary, what }: Saturation): Alert => ({
  name,
  severity: 'ticket',
  expr: `${recorded(records.saturation, ofJob(options), `resource="${resource}"`)} > ${above}`,
  for: '10m',
  summary,
  description: `{{ $value | humanizePercentage }} ${what} (limit ${above * 100} %).`,
})

const eventLoopAlerts = (options: RuleOptions): Alert[] => {
  const scope = ofJob(options)
  return [
    {
      name: 'PlimsollEventLoopSaturated',
      severity: 'ticket',
      expr: `${recorded(records.eventLoop, scope)} > 0.9`,
      for: '10m',
      summary: 'The event loop of {{ $labels.instance }} has no time left',
      description:
        'The event loop of worker {{ $labels.worker }} was active for {{ $value | humanizePercentage }} of the last ' +
        '5m (limit 90 %).',
    },
    {
      name: 'PlimsollEventLoopBlocked',
      severity: 'ticket',
      expr: `${recorded(records.eventLoopDelay, scope)} > 0.1`,
      for: '5m',
      summary: 'The event loop of {{ $labels.instance }} stands still again and again',
      description:
        'One in a hundred things that were due at the event loop in the last 5m had to wait for it for more than ' +
        '{{ $value | humanizeDuration }} (limit 100ms).',
    },
    {
      name: 'PlimsollGarbageCollecting',
      severity: 'ticket',
      expr: `${recorded(records.garbageCollection, scope)} > 0.1`,
      for: '10m',
      summary: '{{ $labels.instance }} is busy with garbage collection',
      description: '{{ $value | humanizePercentage }} of the last 5m went into garbage collection (limit 10 %).',
    },
  ]
}

const cpuAlerts = (options: RuleOptions): Alert[] => [
  {
    name: 'PlimsollCpuThrottled',
    severity: 'ticket',
    expr: `${recorded(records.throttled, ofJob(options))} > 0.25`,
    for: '15m',
    summary: '{{ $labels.instance }} is stopped by its CPU limit',
    description:
      'In {{ $value | humanizePercentage }} of its CPU periods (100 ms each) in the last 5m the container used up its ' +
      'share and was stopped until the next (limit 25 %).',
  },
]

const memoryAlerts = (options: RuleOptions): Alert[] => {
  const scope = ofJob(options)
  // The heap goes up and down with each collection: what counts is where it is on average.
  const heap = `avg_over_time(${recorded(records.saturation, scope, 'resource="heap"')}[10m])`
  const kills = `increase(${select('plimsoll_cgroup_oom_kills_total', scope)}[15m])`
  return [
    saturated(options, {
      name: 'PlimsollMemoryNearLimit',
      resource: 'memory',
      above: 0.9,
      summary: '{{ $labels.instance }} will soon be killed for its memory',
      what: 'of the memory limit of the container is in use, without file cache that can go',
    }),
    {
      name: 'PlimsollHeapNearLimit',
      severity: 'ticket',
      expr: `${heap} > 0.85`,
      for: '5m',
      summary: 'The heap of {{ $labels.instance }} is nearly full',
      description:
        '{{ $value | humanizePercentage }} of the heap limit was in use on average in the last 10m (limit 85 %). At ' +
        'the limit the process ends.',
    },
    {
      name: 'PlimsollOutOfMemory',
      severity: 'ticket',
      expr: `sum by (job, instance) (${kills}) > 0`,
      for: '1m',
      summary: 'A process of {{ $labels.instance }} was killed for lack of memory',
      description: '{{ $value | printf "%.0f" }} processes of the container were killed in the last 15m (limit 0).',
    },
  ]
}
