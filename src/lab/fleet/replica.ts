import { spawn } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { Failure } from '../../kit/errors.ts'
import {
  asBlock,
  describeExit,
  exitOf,
  LastLines,
  readLines,
  stopChild,
  type Exit,
  type StopStep,
} from './processes.ts'

/** A program and its first arguments: `[process.execPath, 'dist/main.js']`. */
export type CommandLine = readonly [program: string, ...args: string[]]

export type Environment = Readonly<Record<string, string | undefined>>

export type ReplicaOptions = {
  /** How Plimsoll is run; `serve` is added. */
  readonly command: CommandLine
  /** Environment of the process, but for what the other options say. */
  readonly env: Environment
  /** Its `INSTANCE`. */
  readonly name: string
  /** Address to serve on; the admin port is always on 127.0.0.1. */
  readonly host: string
  readonly port: number
  readonly adminPort: number
  /** How long it may take to get ready. Default 30 s. */
  readonly readyTimeoutMs?: number
  /** How long it may take to end after SIGTERM, before it is killed. Default 30 s. */
  readonly stopTimeoutMs?: number
  /** Given every line that it writes; without it, the last ones are part of the failure that is thrown. */
  readonly onLine?: (line: string) => void
  /** Gives up the start. */
  readonly signal?: AbortSignal
}

/** A `plimsoll serve` process of this machine that was ready to serve when this was made. */
export type Replica = Readonly<{
  pid: number
  /** Resolves when it has ended, for whatever reason. */
  exited: Promise<Exit>
  /** Asks it to drain (SIGTERM) and waits for its end; after `stopTimeoutMs` its process group is killed. */
  stop(): Promise<void>
}>

/**
 * Starts one `plimsoll serve` and waits until its `/readyz` answers 200.
 * It runs in a process group of its own, so that Ctrl-C in a terminal reaches only its parent, which then stops things
 * in order; an open IPC channel tells it when its parent is gone, at which it drains by itself.
 * Throws a `replica_failed` failure if it ends or is not ready in time.
 */
export const startReplica = async (options: ReplicaOptions): Promise<Replica> => {
  const { name, readyTimeoutMs = 30_000, stopTimeoutMs = 30_000, signal = new AbortController().signal } = options
  const output = new LastLines()
  const child = spawnServe(options)
  const exited = exitOf(child)
  const onLine = (line: string): void => {
    output.add(line)
    options.onLine?.(line)
  }
  const read = Promise.all([readLines(child.stdout!, onLine), readLines(child.stderr!, onLine)])
  const stop = (): Promise<void> => stopChild(child, exited, drainThenKill(stopTimeoutMs))

  const ended = new AbortController()
  const deadline = AbortSignal.any([signal, ended.signal, AbortSignal.timeout(readyTimeoutMs)])
  const outcome = await Promise.race([exited, untilReady(readinessUrl(options), deadline)])
  ended.abort()
  if (outcome === 'ready') return { pid: child.pid!, exited, stop }
  await stop()
  signal.throwIfAborted()
  if (typeof outcome === 'object') await read
  const what = outcome === 'late' ? `was not ready after ${readyTimeoutMs / 1_000} s` : describeExit(outcome)
  const said = options.onLine === undefined ? asBlock(output.lines) : ''
  throw new Failure('replica_failed', { detail: `${name} ${what}${said}` })
}

const spawnServe = ({ command: [program, ...args], env, name, host, port, adminPort }: ReplicaOptions) =>
  spawn(program, [...args, 'serve', '--port', String(port), '--admin-port', String(adminPort)], {
    env: { ...env, HOST: host, ADMIN_HOST: adminHost, INSTANCE: name },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })

const adminHost = '127.0.0.1'

const drainThenKill = (stopTimeoutMs: number): readonly StopStep[] => [
  { signal: 'SIGTERM', waitMs: stopTimeoutMs },
  { signal: 'SIGKILL', waitMs: 5_000, wholeGroup: true },
]

const readinessUrl = ({ adminPort }: ReplicaOptions): string => `http://${adminHost}:${adminPort}/readyz`

const pollEveryMs = 25

const untilReady = async (url: string, deadline: AbortSignal): Promise<'ready' | 'late'> => {
  while (!deadline.aborted) {
    const response = await fetch(url, { signal: deadline }).catch(() => undefined)
    await response?.body?.cancel()
    if (response?.status === 200) return 'ready'
    await delay(pollEveryMs)
  }
  return 'late'
}
