import { readdir, readFile, stat } from 'node:fs/promises'
import { type Collected, single } from './collect.ts'

/** What the system knows of this process, which is a worker, by its number, or the parent of workers. */
export const collectProcess = async (worker: number | 'parent'): Promise<Collected> => {
  const { user, system } = process.cpuUsage()
  const [open, most] = await Promise.all([openFds(), (mostFds ??= readMostFds())])
  return {
    process_cpu_seconds_total: single((user + system) / 1_000_000),
    process_resident_memory_bytes: single(process.memoryUsage.rss()),
    process_open_fds: ifKnown(open),
    process_max_fds: ifKnown(most),
    process_start_time_seconds: single(performance.timeOrigin / 1_000, { worker }),
  }
}

const ifKnown = (value: number | undefined) => (value === undefined ? [] : single(value))

const openFiles = '/proc/self/fd'

/** Undefined elsewhere than on Linux. Since Linux 6.2 it need not list them all, of which there may be 10,000. */
const openFds = async (): Promise<number | undefined> => {
  try {
    const { size } = await stat(openFiles)
    // The list has one for itself.
    return size > 0 ? size : (await readdir(openFiles)).length - 1
  } catch {
    return undefined
  }
}

let mostFds: Promise<number | undefined> | undefined

const readMostFds = async (): Promise<number | undefined> => {
  const limits = await readFile('/proc/self/limits', 'latin1').catch(() => '')
  const [, most] = /^Max open files +(\d+)/m.exec(limits) ?? []
  return most === undefined ? undefined : Number(most)
}
