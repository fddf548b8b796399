/** Starting the sink of `sink.ts` and asking it what has come. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { generatorCore } from './machine.ts'
import type { Received } from './sink.ts'

const script = fileURLToPath(new URL('sink.ts', import.meta.url))

/** What has come by the name of who sent it. */
export type Arrivals = Readonly<Record<string, Received>>

export type Sink = AsyncDisposable & {
  /** What senders put before their own name. */
  readonly url: string
  arrivals(): Promise<Arrivals>
  /** Those when nothing more comes, or when it has been waited for long enough. */
  settled(): Promise<Arrivals>
}

/** Exporters hand over what they have every five seconds at the latest. */
const quietMs = 6_000
const longestWaitMs = 60_000
const pollMs = 500

const totalOf = (arrivals: Arrivals): number => Object.values(arrivals).reduce((total, { bytes }) => total + bytes, 0)

const untilQuiet = async (arrivals: () => Promise<Arrivals>): Promise<Arrivals> => {
  const startedAt = performance.now()
  let latest = await arrivals()
  let changedAt = startedAt
  while (performance.now() - changedAt < quietMs && performance.now() - startedAt < longestWaitMs) {
    await sleep(pollMs)
    const next = await arrivals()
    if (totalOf(next) !== totalOf(latest)) changedAt = performance.now()
    latest = next
  }
  return latest
}

/** Starts it on the core of the load generator, never on the server's. */
export const startSink = async (): Promise<Sink> => {
  const child = spawn('taskset', ['--cpu-list', generatorCore, process.execPath, script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [port] = (await once(createInterface(child.stdout), 'line')) as [string]
  const url = `http://127.0.0.1:${port}`
  const arrivals = async () => (await (await fetch(url)).json()) as Arrivals
  const stop = async (): Promise<void> => {
    const exit = once(child, 'exit')
    child.kill()
    await exit
  }
  return { url, arrivals, settled: () => untilQuiet(arrivals), [Symbol.asyncDispose]: stop }
}
