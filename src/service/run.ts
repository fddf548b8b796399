import { untilAborted } from '../kit/cancellation.ts'
import { workerNumber } from './config.ts'
import type { Health } from './probes.ts'
import { closeNow, freePort, startAdmin, startService, type ServiceDeps } from './server.ts'
import type { WorkerMessage } from './workers.ts'

export type RunOptions = Omit<ServiceDeps, 'worker' | 'onHealth'> & {
  readonly env: Readonly<Record<string, string | undefined>>
  /** Ends the service in order. */
  readonly signal: AbortSignal
}

/** Runs the service until the signal, as one process, as the parent of workers, or as one of them. */
export const runService = (options: RunOptions): Promise<void> => {
  const worker = workerNumber(options.env)
  if (worker !== undefined) return runWorker(options, worker)
  return options.config.workers > 1 ? runParent(options) : runAlone(options)
}

const runAlone = async (options: RunOptions): Promise<void> => {
  const service = await startService({ ...options, worker: 1 })
  await using _admin = await admin(options.config, service.health, options.log)
  await untilAborted(options.signal)
  await service.drain()
}

const runParent = async (options: RunOptions): Promise<void> => {
  // Only here: what it loads would slow the start of a replica that is one process.
  const { startWorkers } = await import('./workers.ts')
  const { host, port } = options.config.http
  const workers = startWorkers({
    ...options,
    port: port === 0 ? await freePort(host) : port,
    nowMs: options.clock.now,
  })
  await using _admin = await admin(options.config, workers.health, options.log)
  await untilAborted(options.signal)
  await workers.drain()
}

const runWorker = async (options: RunOptions, worker: number): Promise<void> => {
  const service = await startService({ ...options, worker, onHealth: tellParent })
  await untilAborted(options.signal)
  await service.drain()
}

const tellParent = (health: Health): void => {
  const message: WorkerMessage = { kind: 'health', health }
  if (process.connected) process.send?.(message)
}

const admin = async (...args: Parameters<typeof startAdmin>): Promise<AsyncDisposable> => {
  const server = await startAdmin(...args)
  return { [Symbol.asyncDispose]: () => closeNow(server) }
}
