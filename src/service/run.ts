import { untilAborted } from '../kit/cancellation.ts'
import { mergeMetrics } from '../kit/metrics.ts'
import { workerNumber } from './config.ts'
import { type FaultControl, faultsOfProcess } from './faults/control.ts'
import { Faults } from './faults/faults.ts'
import { obeyParent } from './faults/worker.ts'
import type { Health } from './probes.ts'
import { controlRoutes } from './routes/admin.ts'
import type { MetricsSource } from './routes/metrics.ts'
import { closeNow, freePort, startAdmin, startService, type ServiceDeps } from './server.ts'
import { collectMetrics } from './telemetry/collect.ts'
import { onlyWorker, replicaMetrics } from './telemetry/replica.ts'
import { collectProcess } from './telemetry/runtime-process.ts'
import type { Telemetry } from './telemetry/telemetry.ts'
import { reportMetrics } from './telemetry/workers-metrics-report.ts'
import type { WorkerMessage, Workers } from './workers.ts'

export type RunOptions = Omit<ServiceDeps, 'worker' | 'onHealth' | 'faults'> & {
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
  const { health, telemetry } = service
  if (telemetry !== undefined) {
    for (const collector of replicaMetrics(health, () => onlyWorker)) telemetry.add(collector)
  }
  await using running = await admin(options, {
    health,
    faults: faultsOfProcess(service.faults),
    metrics: async () => (await telemetry?.collect()) ?? [],
  })
  await running.ended
  await service.drain()
}

const runParent = async (options: RunOptions): Promise<void> => {
  // Only here: what it loads would slow the start of a replica that is one process.
  const { startWorkers } = await import('./workers.ts')
  const { host, port } = options.config.http
  const workers = startWorkers({
    ...options,
    port: port === 0 ? await freePort(host) : port,
  })
  const metrics = options.config.telemetry === undefined ? () => [] : parentMetrics(options, workers)
  await using running = await admin(options, { ...workers, metrics })
  await running.ended
  await workers.drain()
}

/** Those of the workers and of this process, in which nothing happens but what is asked on the admin port. */
const parentMetrics = ({ clock }: RunOptions, workers: Workers): MetricsSource => {
  const own = [...replicaMetrics(workers.health, workers.counts), () => collectProcess('parent')]
  return async () => {
    const ofWorkers = await workers.metrics()
    return mergeMetrics([await collectMetrics(own, clock.now()), ofWorkers])
  }
}

const runWorker = async (options: RunOptions, worker: number): Promise<void> => {
  const faults = new Faults({ ...options, worker })
  await obeyParent(faults, { tell: tellParent, listen: listenToParent })
  const service = await startService({
    ...options,
    worker,
    faults,
    onHealth: (health) => tellParent({ kind: 'health', health }),
  })
  await using _report = service.telemetry && reportOf(service.telemetry, options)
  await untilAborted(options.signal)
  await service.drain()
}

const reportOf = (telemetry: Telemetry, { clock, log }: RunOptions): AsyncDisposable =>
  reportMetrics({
    collect: () => telemetry.collect(),
    tell: sendToParent,
    listen: listenToParent,
    clock,
    onFailure: (err) => log.error({ err }, 'the metrics of this worker were not told'),
  })

const listenToParent = (hear: (message: unknown) => void): void => void process.on('message', hear)

const tellParent = (message: WorkerMessage): void => void sendToParent(message)

/** Resolves when the message is on its way, or has nobody to go to. */
const sendToParent = (message: WorkerMessage): Promise<void> =>
  new Promise((resolve) => {
    if (process.connected) process.send!(message, undefined, undefined, () => resolve())
    else resolve()
  })

type Running = AsyncDisposable & {
  /** Resolves when the service shall end: by the signal, or by who asks for it on the admin port. */
  readonly ended: Promise<void>
}

type Administered = {
  readonly health: () => Health
  readonly faults: FaultControl
  readonly metrics: MetricsSource
}

const admin = async (options: RunOptions, { health, faults, metrics }: Administered): Promise<Running> => {
  const { config, log, signal } = options
  const { token } = config.admin
  const asked = Promise.withResolvers<void>()
  const controls = { faults, metrics, drain: asked.resolve, token, log }
  const server = await startAdmin(config, health, log, [(api) => controlRoutes(api, controls)])
  const ended = Promise.race([untilAborted(signal), asked.promise])
  return { ended, [Symbol.asyncDispose]: () => closeNow(server) }
}
