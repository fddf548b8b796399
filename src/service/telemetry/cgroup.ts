import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ServiceMetricName } from '../../contract/metrics.ts'
import { type Collected, type Collector, single } from './collect.ts'

/** What a container may use and has used; undefined is what its system does not tell, or a limit that it has not. */
type Usage = {
  readonly cpuLimitCores: number | undefined
  readonly cpuSeconds: number | undefined
  readonly periods: number | undefined
  readonly throttledPeriods: number | undefined
  readonly throttledSeconds: number | undefined
  readonly pressureSeconds: number | undefined
  readonly memoryBytes: number | undefined
  readonly memoryLimitBytes: number | undefined
  readonly oomKills: number | undefined
}

type ReadUsage = () => Promise<Usage>

/**
 * The figures of the control group that this process is in: as a rule its container. Both versions are read, of
 * https://docs.kernel.org/admin-guide/cgroup-v2.html and .../cgroup-v1/. They are read off the event loop: to tell them
 * the kernel may have to add up over all cores. `root` is the root of the file system.
 */
export const cgroupMetrics = (root = '/'): Collector => {
  let found: Promise<ReadUsage> | undefined
  return async () => {
    const read = await (found ??= findCgroup(root))
    return collected(await read())
  }
}

const collected = (usage: Usage): Collected => {
  const values: Partial<Record<ServiceMetricName, number | undefined>> = {
    plimsoll_cgroup_cpu_limit_cores: usage.cpuLimitCores,
    plimsoll_cgroup_cpu_seconds_total: usage.cpuSeconds,
    plimsoll_cgroup_cpu_periods_total: usage.periods,
    plimsoll_cgroup_cpu_throttled_periods_total: usage.throttledPeriods,
    plimsoll_cgroup_cpu_throttled_seconds_total: usage.throttledSeconds,
    plimsoll_cgroup_cpu_pressure_seconds_total: usage.pressureSeconds,
    plimsoll_cgroup_memory_bytes: usage.memoryBytes,
    plimsoll_cgroup_memory_limit_bytes: usage.memoryLimitBytes,
    plimsoll_cgroup_oom_kills_total: usage.oomKills,
  }
  const known = Object.entries(values).filter(([, value]) => value !== undefined && !Number.isNaN(value))
  return Object.fromEntries(known.map(([name, value]) => [name, single(value!)]))
}

const findCgroup = async (root: string): Promise<ReadUsage> => {
  const mount = join(root, 'sys/fs/cgroup')
  const paths = (await textOf(join(root, 'proc/self'), 'cgroup')) ?? ''
  const folder = (mounted: string, controller: string): Promise<string> =>
    ownFolder(join(mount, mounted), pathOf(paths, controller))
  if ((await textOf(mount, 'cgroup.controllers')) !== undefined) return version2(await folder('', ''))
  const [cpu, cpuacct, memory] = await Promise.all(['cpu', 'cpuacct', 'memory'].map((name) => folder(name, name)))
  return version1({ cpu: cpu!, cpuacct: cpuacct!, memory: memory! })
}

/** The path of this process' group below the mount of a controller; version 2 has one for all, without a name. */
const pathOf = (paths: string, controller: string): string => {
  const found = paths
    .split('\n')
    .map((line) => line.split(':'))
    .find(([, controllers]) => controllers?.split(',').includes(controller))
  return found?.slice(2).join(':') ?? '/'
}

/** A container sees its own group at the top, and mostly cannot see the place that its path is the name of. */
const ownFolder = async (mount: string, path: string): Promise<string> => {
  const own = join(mount, path)
  return !path.includes('..') && (await textOf(own, 'cgroup.procs')) !== undefined ? own : mount
}

const version2 =
  (folder: string): ReadUsage =>
  async () => {
    const names = [
      'cpu.max',
      'cpu.stat',
      'cpu.pressure',
      'memory.current',
      'memory.stat',
      'memory.max',
      'memory.events',
    ]
    const texts = await Promise.all(names.map((name) => textOf(folder, name)))
    const [cpuMax, cpuStat, pressure, memory, memoryStat, memoryMax, memoryEvents] = texts
    const [quota, period] = numbersIn(cpuMax)
    return {
      cpuLimitCores: quota! / period!,
      cpuSeconds: valueOf(cpuStat, 'usage_usec') / 1_000_000,
      periods: valueOf(cpuStat, 'nr_periods'),
      throttledPeriods: valueOf(cpuStat, 'nr_throttled'),
      throttledSeconds: valueOf(cpuStat, 'throttled_usec') / 1_000_000,
      pressureSeconds: Number(/^some .*\btotal=(\d+)/m.exec(pressure ?? '')?.[1]) / 1_000_000,
      memoryBytes: inUse(memory, valueOf(memoryStat, 'inactive_file')),
      memoryLimitBytes: numbersIn(memoryMax)[0],
      oomKills: valueOf(memoryEvents, 'oom_kill'),
    }
  }

type Folders = { readonly cpu: string; readonly cpuacct: string; readonly memory: string }

/** What stands for no limit: the greatest number that is whole pages, whatever the size of a page. */
const unlimitedBytes = 2 ** 62

const version1 =
  ({ cpu, cpuacct, memory }: Folders): ReadUsage =>
  async () => {
    const [quota, period, cpuStat, usage, used, memoryStat, limit, oom] = await Promise.all([
      textOf(cpu, 'cpu.cfs_quota_us'),
      textOf(cpu, 'cpu.cfs_period_us'),
      textOf(cpu, 'cpu.stat'),
      textOf(cpuacct, 'cpuacct.usage'),
      textOf(memory, 'memory.usage_in_bytes'),
      textOf(memory, 'memory.stat'),
      textOf(memory, 'memory.limit_in_bytes'),
      textOf(memory, 'memory.oom_control'),
    ])
    const [quotaMicros = NaN] = numbersIn(quota)
    const [limitBytes = NaN] = numbersIn(limit)
    return {
      // -1: no limit.
      cpuLimitCores: quotaMicros > 0 ? quotaMicros / numbersIn(period)[0]! : undefined,
      cpuSeconds: (numbersIn(usage)[0] ?? NaN) / 1e9,
      periods: valueOf(cpuStat, 'nr_periods'),
      throttledPeriods: valueOf(cpuStat, 'nr_throttled'),
      throttledSeconds: valueOf(cpuStat, 'throttled_time') / 1e9,
      pressureSeconds: undefined,
      memoryBytes: inUse(used, valueOf(memoryStat, 'total_inactive_file')),
      memoryLimitBytes: limitBytes < unlimitedBytes ? limitBytes : undefined,
      oomKills: valueOf(oom, 'oom_kill'),
    }
  }

const textOf = (folder: string, name: string): Promise<string | undefined> =>
  readFile(join(folder, name), 'latin1').catch(() => undefined)

/** The numbers of a line; NaN for `max`, which is no limit. */
const numbersIn = (line: string | undefined): readonly number[] => line?.trim().split(' ').map(Number) ?? []

/** Of lines like `nr_periods 17`; NaN where there is none of this name. */
const valueOf = (lines: string | undefined, name: string): number => {
  const line = lines?.split('\n').find((other) => other.startsWith(`${name} `))
  return line === undefined ? NaN : Number(line.slice(name.length))
}

/** What Kubernetes calls the working set: without file cache that nobody has looked at for a while. */
const inUse = (used: string | undefined, inactive: number): number | undefined => {
  const [bytes] = numbersIn(used)
  return bytes === undefined ? undefined : Math.max(0, bytes - (inactive || 0))
}
