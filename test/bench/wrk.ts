/** The load generator: `wrk`, one thread on its own core, as many requests as the connections can carry. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { generatorCore } from './machine.ts'

const execute = promisify(execFile)
const script = fileURLToPath(new URL('wrk.lua', import.meta.url))

/** What one run of `wrk` saw; `ratePerSecond` counts the 2xx and 3xx answers only. */
export type Load = {
  readonly ratePerSecond: number
  /** All that were answered, whatever the status. */
  readonly requests: number
  readonly badStatuses: number
  readonly socketErrors: number
  readonly p50Ms: number
  readonly p99Ms: number
}

type Summary = {
  durationUs: number
  requests: number
  badStatuses: number
  socketErrors: number
  timeouts: number
  p50Us: number
  p99Us: number
}

/** Reads what `wrk.lua` printed last. */
export const parseSummary = (output: string): Load => {
  const summary = JSON.parse(output.trimEnd().split('\n').at(-1)!) as Summary
  return {
    ratePerSecond: ((summary.requests - summary.badStatuses) * 1e6) / summary.durationUs,
    requests: summary.requests,
    badStatuses: summary.badStatuses,
    socketErrors: summary.socketErrors + summary.timeouts,
    p50Ms: summary.p50Us / 1000,
    p99Ms: summary.p99Us / 1000,
  }
}

export const runWrk = async (url: string, connections: number, seconds: number): Promise<Load> => {
  const wrk = ['wrk', '--threads', '1', '--connections', String(connections), '--duration', `${seconds}s`]
  const { stdout } = await execute('taskset', ['--cpu-list', generatorCore, ...wrk, '--script', script, url])
  return parseSummary(stdout)
}
