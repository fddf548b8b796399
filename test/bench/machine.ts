/** The machine: which core belongs to whom, which tools are there, and what Linux says of a process. */
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'

/** Core 0 is the server's alone; `wrk` has core 1; Postgres and the bench itself run on every core but 0. */
export const serverCore = '0'
export const generatorCore = '1'
const coresOfTheRest = `1-${Math.max(1, availableParallelism() - 1)}`

/** Leaves core 0 to the server under test: children of this process, such as Postgres, inherit the other cores. */
export const leaveTheServerCore = (): void => {
  execFileSync('taskset', ['--all-tasks', '--cpu-list', '--pid', coresOfTheRest, String(process.pid)])
}

const hasCommand = (name: string): boolean => spawnSync(name, ['--version']).error === undefined

/** Says what this machine lacks for a measurement that means something; empty when it lacks nothing. */
export const whatIsMissing = (): readonly string[] => [
  ...(process.platform === 'linux' ? [] : ['Linux: cores are pinned with taskset and read from /proc']),
  ...(hasCommand('wrk') ? [] : ['wrk, the load generator: apt-get install wrk']),
  ...(hasCommand('taskset') ? [] : ['taskset, which pins processes to cores: apt-get install util-linux']),
  ...(availableParallelism() >= 2 ? [] : ['a second core: the server and the load generator need one each']),
]

/** How many files a process started from here may have open. Node raises its own soft limit to the hard one. */
export const openFilesLimit = (): number => {
  const limit = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
  return limit === undefined ? Infinity : Number(limit)
}

const childrenOf = (pid: number): readonly number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)

const treeOf = (pid: number): readonly number[] => [pid, ...childrenOf(pid).flatMap(treeOf)]

/** `USER_HZ`, the unit of /proc/PID/stat: 100 per second on every architecture that Node runs on. */
const ticksPerSecond = 100

const cpuSecondsOfProcess = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ') // the name before may hold spaces
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond // utime and stime, fields 14 and 15 of proc(5)
}

/** CPU time used so far by a process and its descendants, in seconds. */
export const cpuSeconds = (pid: number): number =>
  treeOf(pid).reduce((total, each) => total + cpuSecondsOfProcess(each), 0)

/** Resident memory of the busiest process of a tree, in megabytes (10^6 bytes): a worker, not its parent. */
export const residentMegabytes = (pid: number): number => {
  const worker = treeOf(pid).toSorted((left, right) => cpuSecondsOfProcess(right) - cpuSecondsOfProcess(left))[0]!
  const kibibytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${worker}/status`, 'utf8'))?.[1]
  return (Number(kibibytes) * 1024) / 1e6
}
