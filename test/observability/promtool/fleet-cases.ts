import type { MetricName } from '../../../src/observability/promql.ts'
import { type AlertCase, pair } from './cases.ts'
import { labelsOf, level, of, rising, secondReplica, type Series } from './series.ts'

const job = 'plimsoll'
const instance = '10.0.0.1:9464'

const foreign = (metric: MetricName, labels: Readonly<Record<string, string>>, values: string): Series => ({
  [`${metric}${labelsOf({ job: 'kube-state-metrics', namespace: 'shop', ...labels })}`]: values,
})

const hpa = { horizontalpodautoscaler: 'plimsoll' }

/** An HPA that may have 6 replicas and wants some, and how busy the event loops of two replicas are. */
type Scaling = { readonly desired: number; readonly active: number }

const loops = (active: number): Series =>
  Object.assign(
    {},
    ...[{}, secondReplica].map((replica) => ({
      ...of(
        'nodejs_eventloop_time_seconds_total',
        { ...replica, nodejs_eventloop_state: 'active', worker: 1 },
        rising(active),
      ),
      ...of(
        'nodejs_eventloop_time_seconds_total',
        { ...replica, nodejs_eventloop_state: 'idle', worker: 1 },
        rising(1 - active),
      ),
    })),
  )

const scaling = ({ desired, active }: Scaling): Series => ({
  ...foreign('kube_horizontalpodautoscaler_status_desired_replicas', hpa, level(desired)),
  ...foreign('kube_horizontalpodautoscaler_spec_max_replicas', hpa, level(6)),
  ...loops(active),
  // Full for other reasons, which more replicas would not cure.
  ...of('process_open_fds', {}, level(1_000)),
  ...of('process_max_fds', {}, level(1_000)),
})

const condition = (name: string, isFalse: string): Series => ({
  ...foreign('kube_horizontalpodautoscaler_status_condition', { ...hpa, condition: name, status: 'false' }, isFalse),
  ...foreign('kube_horizontalpodautoscaler_status_condition', { ...hpa, condition: name, status: 'unknown' }, level(0)),
})

const presence: readonly AlertCase[] = [
  ...pair<readonly [first: string, second: string]>('PlimsollDown', {
    series: ([first, second]) => ({
      ...of('plimsoll_ready', {}, first),
      ...of('plimsoll_ready', secondReplica, second),
    }),
    atMinutes: 13,
    fires: {
      with: ['1x9 0x80', level(0)],
      because: 'when the last replica has not been ready for 2 minutes',
      labels: { job },
      summary: 'No replica of plimsoll takes traffic',
      description: 'Of all replicas that Prometheus sees none is ready; or it sees none (expected: at least 1).',
    },
    silent: [
      { with: [level(0), level(1)], because: 'while one is ready' },
      { with: ['1x9 0x80', level(0)], because: 'in the first 2 minutes', atMinutes: 11 },
    ],
  }),
  {
    alert: 'PlimsollDown',
    law: 'fires when Prometheus sees no replica at all',
    series: { 'plimsoll_ready{job="another"}': level(1) },
    atMinutes: 5,
    fires: [{ labels: { job } }],
  },
  ...pair<string>('PlimsollReplicaDown', {
    series: (up) => ({ ...of('up', {}, up), ...of('up', secondReplica, level(1)) }),
    atMinutes: 16,
    fires: {
      with: '1x9 0x80',
      because: 'for the replica that has not answered for 5 minutes',
      labels: { job, instance },
      summary: 'Prometheus gets no metrics of 10.0.0.1:9464',
      description: 'The admin port of 10.0.0.1:9464 has not answered its last scrapes (up is 0).',
    },
    silent: [
      { with: level(1), because: 'while it answers' },
      { with: '1x9 0x80', because: 'in the first 5 minutes', atMinutes: 14 },
      { with: '1x9 0x3 1x80', because: 'when it was away for 4 minutes' },
    ],
  }),
  ...pair<string>('PlimsollNotReady', {
    series: (ready) => of('plimsoll_ready', {}, ready),
    atMinutes: 16,
    fires: {
      with: '1x9 0x80',
      because: 'for the replica that has not been ready for 5 minutes',
      labels: { job, instance },
      summary: '10.0.0.1:9464 runs and takes no traffic',
      description: 'The replica has not been ready for 5 minutes; starting and draining take seconds.',
    },
    silent: [
      { with: level(1), because: 'while it is ready' },
      { with: '0x80', because: 'in the first 5 minutes', atMinutes: 4 },
      { with: '0x2 1x80', because: 'when it took 3 minutes to start' },
    ],
  }),
]

const crashes: readonly AlertCase[] = [
  ...pair<string>('PlimsollCrashLoop', {
    series: (started) => of('process_start_time_seconds', { worker: 1 }, started),
    atMinutes: 14,
    fires: {
      with: '100x4 200x1 300x1 400x1 500x80',
      because: 'when a process was started anew 4 times in 15 minutes',
      labels: { job, instance },
      summary: 'Processes of 10.0.0.1:9464 crash again and again',
      description: '4 times in the last 15m a process had to be started anew (limit 3).',
    },
    silent: [
      { with: '100x4 200x1 300x1 400x80', because: 'after 3 times' },
      { with: '100x4 200x1 300x1 400x1 500x80', because: 'in the first minute', atMinutes: 11 },
      { with: '100x4 200x1 300x1 400x1 500x80', because: 'half an hour after the last crash', atMinutes: 45 },
    ],
  }),
  ...pair<number>('PlimsollCrashLoop', {
    series: (perMinute) => ({
      ...of('plimsoll_worker_restarts_total', {}, rising(perMinute / 60)),
      ...of('process_start_time_seconds', { worker: 1 }, level(100)),
    }),
    atMinutes: 20,
    fires: {
      with: 0.4,
      because: 'when workers were replaced 6 times in 15 minutes, whatever their start times show',
      labels: { job, instance },
    },
    silent: [{ with: 0.18, because: 'when they were replaced less than 3 times' }],
  }),
]

const autoscaling: readonly AlertCase[] = [
  ...pair<Scaling>('PlimsollHpaAtMaximum', {
    series: scaling,
    atMinutes: 22,
    fires: {
      with: { desired: 6, active: 0.85 },
      because: 'when all 6 of 6 replicas are busy for 15 minutes',
      labels: { namespace: 'shop', horizontalpodautoscaler: 'plimsoll' },
      summary: 'HPA plimsoll may not add replicas, and those there are full',
      description:
        'The HPA wants its maximum of 6 replicas, and they use more than 80 % of what limits them, on average.',
    },
    silent: [
      { with: { desired: 5, active: 0.85 }, because: 'when it may still add one' },
      { with: { desired: 6, active: 0.75 }, because: 'when those there have room, though their descriptors have not' },
      { with: { desired: 6, active: 1 }, because: 'in the first 15 minutes', atMinutes: 14 },
    ],
  }),
  ...pair<readonly [name: string, isFalse: string]>('PlimsollHpaUnableToScale', {
    series: ([name, isFalse]) => condition(name, isFalse),
    atMinutes: 12,
    fires: {
      with: ['ScalingActive', level(1)],
      because: 'when it cannot read its metrics',
      labels: {
        job: 'kube-state-metrics',
        namespace: 'shop',
        horizontalpodautoscaler: 'plimsoll',
        condition: 'ScalingActive',
        status: 'false',
      },
      summary: 'HPA plimsoll does not scale',
      description: 'Its condition ScalingActive is false: the number of replicas stays as it is.',
    },
    silent: [
      { with: ['ScalingActive', level(0)], because: 'when it can' },
      { with: ['ScalingLimited', level(1)], because: 'when nothing limits it' },
      { with: ['AbleToScale', level(1)], because: 'in the first 10 minutes', atMinutes: 9 },
    ],
  }),
  ...pair<number>('PlimsollReplicasMissing', {
    series: (available) => ({
      ...foreign('kube_deployment_spec_replicas', { deployment: 'plimsoll' }, level(4)),
      ...foreign('kube_deployment_status_replicas_available', { deployment: 'plimsoll' }, level(available)),
    }),
    atMinutes: 20,
    fires: {
      with: 3,
      because: 'when 3 of 4 are available',
      labels: { job: 'kube-state-metrics', namespace: 'shop', deployment: 'plimsoll' },
      summary: 'Deployment plimsoll has fewer replicas than it should have',
      description: '4 replicas are asked for, and fewer are available since 15 minutes.',
    },
    silent: [
      { with: 4, because: 'when all are' },
      { with: 1, because: 'in the first 15 minutes', atMinutes: 14 },
    ],
  }),
]

export const fleetCases: readonly AlertCase[] = [...presence, ...crashes, ...autoscaling]
