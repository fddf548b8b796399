import { type AlertCase, pair } from './cases.ts'
import { histogram, level, of, rising, type Series } from './series.ts'

const job = 'plimsoll'
const instance = '10.0.0.1:9464'
const labels = { job, instance }

const loop = (active: number, worker: number): Series => ({
  ...of('nodejs_eventloop_time_seconds_total', { nodejs_eventloop_state: 'active', worker }, rising(active)),
  ...of('nodejs_eventloop_time_seconds_total', { nodejs_eventloop_state: 'idle', worker }, rising(1 - active)),
})

/** Fifty a second are due; a share of them comes within 100 ms, some before and all within 250 ms. */
const turns = (inTime: number): Series =>
  histogram(
    'plimsoll_eventloop_delay_seconds',
    { worker: 1 },
    { 0.05: rising(50 * 0.985), 0.1: rising(50 * inTime), 0.25: rising(50), '+Inf': rising(50) },
  )

const collections = (share: number): Series => ({
  ...of('v8js_gc_duration_seconds', { v8js_gc_type: 'minor', worker: 1 }, rising(share / 4), '_sum'),
  ...of('v8js_gc_duration_seconds', { v8js_gc_type: 'major', worker: 1 }, rising((share * 3) / 4), '_sum'),
  ...of('v8js_gc_duration_seconds', { v8js_gc_type: 'major', worker: 2 }, rising(0.01), '_sum'),
})

const gigabyte = 1_000_000_000

export const replicaCases: readonly AlertCase[] = [
  ...pair<number>('PlimsollEventLoopSaturated', {
    series: (active) => ({ ...loop(active, 1), ...loop(0.2, 2) }),
    atMinutes: 17,
    fires: {
      with: 0.92,
      because: 'for the worker that is active 92 % of 10 minutes',
      labels: { ...labels, worker: '1' },
      summary: 'The event loop of 10.0.0.1:9464 has no time left',
      description: 'The event loop of worker 1 was active for 92% of the last 5m (limit 90 %).',
    },
    silent: [
      { with: 0.89, because: 'at 89 %' },
      { with: 1, because: 'in the first 10 minutes', atMinutes: 9 },
    ],
  }),
  ...pair<number>('PlimsollEventLoopBlocked', {
    series: turns,
    atMinutes: 12,
    fires: {
      with: 0.9885,
      because: 'when 1.15 % of the time something waits for more than 100 ms',
      labels,
      summary: 'The event loop of 10.0.0.1:9464 stands still again and again',
      description:
        'One in a hundred things that were due at the event loop in the last 5m had to wait for it for more than 119.6ms ' +
        '(limit 100ms).',
    },
    silent: [
      { with: 0.991, because: 'when 0.9 % of the time something does' },
      { with: 0.985, because: 'in the first 5 minutes', atMinutes: 5 },
    ],
  }),
  ...pair<number>('PlimsollGarbageCollecting', {
    series: collections,
    atMinutes: 17,
    fires: {
      with: 0.12,
      because: 'when one worker collects for 12 % of the time',
      labels,
      summary: '10.0.0.1:9464 is busy with garbage collection',
      description: '12% of the last 5m went into garbage collection (limit 10 %).',
    },
    silent: [
      { with: 0.096, because: 'at 9.6 %' },
      { with: 0.5, because: 'in the first 10 minutes', atMinutes: 9 },
    ],
  }),
  ...pair<number>('PlimsollCpuThrottled', {
    series: (share) => ({
      ...of('plimsoll_cgroup_cpu_periods_total', {}, rising(10)),
      ...of('plimsoll_cgroup_cpu_throttled_periods_total', {}, rising(10 * share)),
    }),
    atMinutes: 22,
    fires: {
      with: 0.3,
      because: 'when the container is stopped in 30 % of the periods',
      labels,
      summary: '10.0.0.1:9464 is stopped by its CPU limit',
      description:
        'In 30% of its CPU periods (100 ms each) in the last 5m the container used up its share and was stopped until ' +
        'the next (limit 25 %).',
    },
    silent: [
      { with: 0.24, because: 'at 24 %' },
      { with: 0.9, because: 'in the first 15 minutes', atMinutes: 14 },
    ],
  }),
  ...pair<number>('PlimsollMemoryNearLimit', {
    series: (share) => ({
      ...of('plimsoll_cgroup_memory_bytes', {}, level(share * gigabyte)),
      ...of('plimsoll_cgroup_memory_limit_bytes', {}, level(gigabyte)),
    }),
    atMinutes: 17,
    fires: {
      with: 0.92,
      because: 'at 92 % of the limit',
      labels: { ...labels, resource: 'memory' },
      summary: '10.0.0.1:9464 will soon be killed for its memory',
      description: '92% of the memory limit of the container is in use, without file cache that can go (limit 90 %).',
    },
    silent: [
      { with: 0.89, because: 'at 89 %' },
      { with: 0.99, because: 'in the first 10 minutes', atMinutes: 9 },
    ],
  }),
  ...pair<string>('PlimsollHeapNearLimit', {
    series: (used) => ({
      ...of('v8js_memory_heap_used_bytes', { worker: 1 }, used),
      ...of('v8js_memory_heap_limit_bytes', { worker: 1 }, level(100)),
    }),
    atMinutes: 12,
    fires: {
      with: level(88),
      because: 'at 88 % of the limit',
      labels: { ...labels, resource: 'heap' },
      summary: 'The heap of 10.0.0.1:9464 is nearly full',
      description:
        '88% of the heap limit was in use on average in the last 10m (limit 85 %). At the limit the process ends.',
    },
    silent: [
      { with: level(84), because: 'at 84 %' },
      { with: '60 95 '.repeat(45).trim(), because: 'when collections bring it down from 95 % to 60 %' },
      { with: level(99), because: 'in the first 5 minutes', atMinutes: 4 },
    ],
  }),
  ...pair<string>('PlimsollOutOfMemory', {
    series: (kills) => of('plimsoll_cgroup_oom_kills_total', {}, kills),
    atMinutes: 22,
    fires: {
      with: '0x19 1x70',
      because: 'when a process was killed 2 minutes ago',
      labels,
      summary: 'A process of 10.0.0.1:9464 was killed for lack of memory',
      description: '1 processes of the container were killed in the last 15m (limit 0).',
    },
    silent: [
      { with: level(0), because: 'when none was killed' },
      { with: level(3), because: 'when some were killed before' },
      { with: '0x19 1x70', because: 'in the first minute', atMinutes: 20 },
      { with: '0x19 1x70', because: 'twenty minutes after', atMinutes: 41 },
    ],
  }),
  ...pair<number>('PlimsollThreadsSaturated', {
    series: (busy) => ({
      ...of('plimsoll_threads_busy_seconds_total', {}, rising(busy)),
      ...of('plimsoll_threads', {}, level(4)),
    }),
    atMinutes: 17,
    fires: {
      with: 3.8,
      because: 'when 3.8 of 4 threads are busy',
      labels: { ...labels, resource: 'threads' },
      summary: 'The threads for CPU work are all busy at 10.0.0.1:9464',
      description: '95% of the threads were at work on average in the last 5m (limit 90 %).',
    },
    silent: [
      { with: 3.5, because: 'when 3.5 of 4 are' },
      { with: 4, because: 'in the first 10 minutes', atMinutes: 9 },
    ],
  }),
  ...pair<number>('PlimsollFileDescriptorsNearLimit', {
    series: (open) => ({ ...of('process_open_fds', {}, level(open)), ...of('process_max_fds', {}, level(1_000)) }),
    atMinutes: 17,
    fires: {
      with: 850,
      because: 'when 850 of 1,000 are open',
      labels: { ...labels, resource: 'file descriptors' },
      summary: '10.0.0.1:9464 is running out of file descriptors',
      description: '85% of the file descriptors that the process may have are open (limit 80 %).',
    },
    silent: [
      { with: 790, because: 'when 790 are' },
      { with: 999, because: 'in the first 10 minutes', atMinutes: 9 },
    ],
  }),
]
