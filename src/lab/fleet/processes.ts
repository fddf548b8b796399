import { execFile, type ChildProcess } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'

/** How a process ended; exactly one of the two is not null, unless it could not even be started. */
export type Exit = Readonly<{ code: number | null; signal: NodeJS.Signals | null; error?: Error }>

/** Says how a process ended: `exited with code 1`, `was ended by SIGKILL`. */
export const describeExit = ({ code, signal, error }: Exit): string => {
  if (error !== undefined) return `could not be started (${error.message})`
  return signal === null ? `exited with code ${code}` : `was ended by ${signal}`
}

/** Resolves once the child has ended or failed to start; never rejects. */
export const exitOf = (child: ChildProcess): Promise<Exit> =>
  new Promise((resolve) => {
    child.once('error', (error) => resolve({ code: null, signal: null, error }))
    child.once('exit', (code, signal) => resolve({ code, signal }))
  })

/** What is tried to end a process: a signal, and how long to wait before the next one. */
export type StopStep = Readonly<{ signal: NodeJS.Signals; waitMs: number; wholeGroup?: boolean }>

/** Sends one signal after another until the child has ended. The last should be SIGKILL, which cannot be refused. */
export const stopChild = async (
  child: ChildProcess,
  exited: Promise<Exit>,
  steps: readonly StopStep[],
): Promise<void> => {
  for (const { signal, waitMs, wholeGroup } of steps) {
    if (child.pid === undefined || hasEnded(child)) return
    if (wholeGroup) signalGroup(child.pid, signal)
    else child.kill(signal)
    if (await within(exited, waitMs)) return
  }
  if (!hasEnded(child)) throw new Error(`process ${child.pid} did not end`)
}

const hasEnded = ({ exitCode, signalCode }: ChildProcess): boolean => exitCode !== null || signalCode !== null

const signalGroup = (leaderPid: number, signal: NodeJS.Signals): void => {
  try {
    process.kill(-leaderPid, signal)
  } catch {
    // The group has ended by itself.
  }
}

const within = async (exited: Promise<Exit>, waitMs: number): Promise<boolean> => {
  const enough = new AbortController()
  const tooLate = delay(waitMs, false, { signal: enough.signal }).catch(() => false)
  const ended = await Promise.race([exited.then(() => true), tooLate])
  enough.abort()
  return ended
}

/** Keeps the last lines that a process wrote, for the message of the failure that may follow. */
export class LastLines {
  readonly #kept: string[] = []
  readonly #limit: number

  constructor(limit = 12) {
    this.#limit = limit
  }

  add(line: string): void {
    this.#kept.push(line)
    if (this.#kept.length > this.#limit) this.#kept.shift()
  }

  get lines(): readonly string[] {
    return this.#kept
  }
}

/** Lines as an indented block that may follow a message, starting with a line break; empty if there are none. */
export const asBlock = (lines: readonly string[]): string => lines.map((line) => `\n  ${line}`).join('')

/** Calls `onLine` for every line of the stream; resolves when the stream has ended. */
export const readLines = async (stream: Readable, onLine: (line: string) => void): Promise<void> => {
  for await (const line of createInterface({ input: stream, crlfDelay: Infinity })) onLine(line)
}

/** The command line of any process of this machine, arguments parted by spaces; empty if it has ended. */
export const commandLineOf = async (pid: number): Promise<string> =>
  process.platform === 'linux'
    ? (await readProc(pid, 'cmdline')).replaceAll('\0', ' ').trim()
    : await askPs(pid, 'command')

/**
 * What tells a process from a later one with the same number: the time it started. Empty if it has ended.
 * Linux: clock ticks after boot, field 22 of proc_pid_stat(5); elsewhere what `ps -o lstart` prints.
 */
export const startOf = async (pid: number): Promise<string> => {
  if (process.platform !== 'linux') return await askPs(pid, 'lstart')
  const stat = await readProc(pid, 'stat')
  // Field 2 is the name in brackets, which may hold anything: count from the last bracket, after which field 3 comes.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [state, start = ''] = [fields[0], fields[19]]
  return state === 'Z' ? '' : start
}

const readProc = (pid: number, file: string): Promise<string> =>
  readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '')

const askPs = async (pid: number, column: string): Promise<string> => {
  try {
    const { stdout } = await promisify(execFile)('ps', ['-o', `${column}=`, '-p', String(pid)])
    return stdout.trim()
  } catch {
    return ''
  }
}
