/** What the machine that a test runs on does not have. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

type Probe = { readonly file: string; readonly tells: RegExp }

const none: Probe = { file: '', tells: /^/ }
const folder = '/sys/fs/cgroup'

/** Where each figure of a control group stands, and how it looks where there is one: in version 2 and in version 1. */
const cgroupFigures: Readonly<Record<string, readonly [version2: Probe, version1: Probe]>> = {
  plimsoll_cgroup_cpu_limit_cores: [
    { file: 'cpu.max', tells: /^\d/ },
    { file: 'cpu/cpu.cfs_quota_us', tells: /^[1-9]/ },
  ],
  plimsoll_cgroup_cpu_seconds_total: [
    { file: 'cpu.stat', tells: /^usage_usec \d/m },
    { file: 'cpuacct/cpuacct.usage', tells: /^\d/ },
  ],
  plimsoll_cgroup_cpu_periods_total: [
    { file: 'cpu.stat', tells: /^nr_periods \d/m },
    { file: 'cpu/cpu.stat', tells: /^nr_periods \d/m },
  ],
  plimsoll_cgroup_cpu_throttled_periods_total: [
    { file: 'cpu.stat', tells: /^nr_throttled \d/m },
    { file: 'cpu/cpu.stat', tells: /^nr_throttled \d/m },
  ],
  plimsoll_cgroup_cpu_throttled_seconds_total: [
    { file: 'cpu.stat', tells: /^throttled_usec \d/m },
    { file: 'cpu/cpu.stat', tells: /^throttled_time \d/m },
  ],
  plimsoll_cgroup_cpu_pressure_seconds_total: [{ file: 'cpu.pressure', tells: /^some .*total=\d/m }, none],
  plimsoll_cgroup_memory_bytes: [
    { file: 'memory.current', tells: /^\d/ },
    { file: 'memory/memory.usage_in_bytes', tells: /^\d/ },
  ],
  plimsoll_cgroup_memory_limit_bytes: [
    { file: 'memory.max', tells: /^\d/ },
    // No limit is the greatest number of whole pages there: of 19 digits.
    { file: 'memory/memory.limit_in_bytes', tells: /^\d{1,18}$/m },
  ],
  plimsoll_cgroup_oom_kills_total: [
    { file: 'memory.events', tells: /^oom_kill \d/m },
    { file: 'memory/memory.oom_control', tells: /^oom_kill \d/m },
  ],
}

/** Metrics that the service cannot show on this machine, each with the reason. */
export const lackingMetrics = (): ReadonlyMap<string, string> => {
  const lacking = new Map<string, string>()
  const version = existsSync(join(folder, 'cgroup.controllers')) ? 0 : 1
  for (const [metric, probes] of Object.entries(cgroupFigures)) {
    const { file, tells } = probes[version]
    const text = file === '' ? undefined : textOf(file)
    if (text === undefined)
      lacking.set(metric, `control groups of version ${2 - version} have no ${file || 'such file'}`)
    else if (!tells.test(text)) lacking.set(metric, `${file} says: ${text.trim().split('\n')[0]}`)
  }
  if (!existsSync('/proc/self/fd')) lacking.set('process_open_fds', 'there is no /proc/self/fd')
  if (!existsSync('/proc/self/limits')) lacking.set('process_max_fds', 'there is no /proc/self/limits')
  return lacking
}

/** Metrics that are shown and cannot move on this machine, each with the reason: their rate is 0, and a share of it nothing. */
export const idleMetrics = (): ReadonlyMap<string, string> =>
  lackingMetrics().has('plimsoll_cgroup_cpu_limit_cores')
    ? new Map([['plimsoll_cgroup_cpu_periods_total', 'without a CPU limit there are no periods of it']])
    : new Map()

/** Of this process' own group where it can be seen, otherwise of the one at the top. */
const textOf = (file: string): string | undefined => {
  const [controller, name] = file.includes('/') ? (file.split('/') as [string, string]) : ['', file]
  const lines = readFileSync('/proc/self/cgroup', 'utf8').split('\n')
  const own = lines.map((line) => line.split(':')).find(([, names]) => names?.split(',').includes(controller))
  const paths = [join(folder, controller, own?.[2] ?? '/', name), join(folder, controller, name)]
  const path = paths.find((candidate) => existsSync(candidate))
  return path === undefined ? undefined : readFileSync(path, 'utf8')
}
