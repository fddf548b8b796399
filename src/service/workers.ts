import cluster, { type Worker } from 'node:cluster'
import type { Logger } from 'pino'
import type { Clock } from '../kit/timers.ts'
import type { Config } from './config.ts'
import type { FaultControl } from './faults/control.ts'
import type { FaultNews } from './faults/worker.ts'
import { WorkersFaults } from './faults/workers.ts'
import type { Metric } from '../kit/metrics.ts'
import type { Health } from './probes.ts'
import type { WorkerCounts } from './telemetry/replica.ts'
import { WorkersMetrics } from './telemetry/workers-metrics.ts'
import type { MetricsNews } from './telemetry/workers-metrics-report.ts'

/** What a worker tells its parent. */
export type WorkerMessage = { readonly kind: 'health'; readonly health: Health } | FaultNews | MetricsNews

export type WorkersOptions = {
  readonly config: Config
  /** The port that all share; not 0. */
  readonly port: number
  readonly log: Logger
  readonly clock: Clock
}

/** Several processes behind one port. */
export type Workers = {
  /** Started when each has been ready, ready while one is. */
  readonly health: () => Health
  /** Those of all, also of workers that come to replace others. */
  readonly faults: FaultControl
  /** Those of all, also of workers that are gone, as far as they are totals. */
  readonly metrics: () => Promise<Metric[]>
  readonly counts: () => WorkerCounts
  /** Resolves when all are gone after `drain`. */
  readonly drain: () => Promise<void>
}

/** A worker that dies is replaced soon, and if it dies again ever later, up to this: always within two seconds. */
const longestBackOffMs = 1_500
const firstBackOffMs = 50
/** A worker that ran this long was sound: the next failure starts from the first back-off. */
const soundAfterMs = 10_000
/** What a worker may take over its own drain before it is killed. */
const graceMs = 2_000

type Post = {
  readonly number: number
  worker: Worker | undefined
  health: Health
  startedAtMs: number
  failures: number
  retry: NodeJS.Timeout | undefined
}

/**
 * Starts `config.workers` processes that run the same command line and share a port, each with a listening socket of
 * its own (SO_REUSEPORT, see `server.ts`). The cluster module could also accept here and hand connections on, but what
 * it has handed to a worker that then dies is neither answered nor closed, and its client waits for ever.
 *
 * There is a *post* for each worker number, and it is: running (`worker` set), vacant (`retry` set, waiting for its
 * back-off), or closed (neither, once draining). A post keeps its number, so that instances keep their names.
 */
export const startWorkers = ({ config, port, log, clock }: WorkersOptions): Workers => {
  let draining = false
  let restarts = 0
  const gone = Promise.withResolvers<void>()

  const posts = Array.from({ length: config.workers }, (_, index): Post => {
    return { number: index + 1, worker: undefined, health: unknown, startedAtMs: 0, failures: 0, retry: undefined }
  })

  const faults = new WorkersFaults({
    count: posts.length,
    clock,
    // An order that comes too late is for a process that is gone.
    send: (number, order) => posts[number - 1]!.worker?.send(order, () => {}),
    kill: (number) => posts[number - 1]!.worker?.process.kill('SIGKILL'),
  })

  const metrics = new WorkersMetrics(posts.length, clock)

  const fill = (post: Post): void => {
    post.retry = undefined
    post.startedAtMs = clock.now()
    const worker = cluster.fork({ PORT: String(port), PLIMSOLL_WORKER: String(post.number) })
    post.worker = worker
    const figures = metrics.started(post.number, (order) => worker.send(order, () => {}))
    worker.on('message', (message: WorkerMessage) => {
      if (message.kind === 'health') post.health = message.health
      else if (message.kind === 'metrics') figures.heard(message)
      else faults.heard(post.number, message)
    })
    worker.on('error', (err) => log.error({ err, worker: post.number }, 'worker'))
    // After the last message; `exit` may come before.
    worker.once('disconnect', () => figures.gone())
    worker.once('exit', (code, signal) => vacate(post, code ?? signal))
  }

  const vacate = (post: Post, why: number | string): void => {
    post.worker = undefined
    faults.gone(post.number)
    post.health = { ...unknown, started: post.health.started }
    if (draining) return leave()
    post.failures = clock.now() - post.startedAtMs > soundAfterMs ? 0 : post.failures + 1
    const inMs = Math.min(firstBackOffMs * 2 ** post.failures, longestBackOffMs)
    log.error({ worker: post.number, why, inMs }, 'a worker is gone and will be replaced')
    post.retry = setTimeout(refill, inMs, post)
  }

  const refill = (post: Post): void => {
    restarts++
    fill(post)
  }

  const leave = (): void => {
    if (posts.every(({ worker }) => worker === undefined)) gone.resolve()
  }

  const drain = async (): Promise<void> => {
    draining = true
    for (const { worker, retry } of posts) {
      clearTimeout(retry)
      worker?.process.kill('SIGTERM')
    }
    const limitMs = config.drain.delayMs + config.drain.timeoutMs + graceMs
    const kill = setTimeout(() => posts.forEach(({ worker }) => worker?.process.kill('SIGKILL')), limitMs)
    leave()
    await gone.promise
    clearTimeout(kill)
  }

  const counts = (): WorkerCounts => {
    const running = posts.filter(({ worker }) => worker !== undefined).length
    return { running, vacant: posts.length - running, restarts, scrapesMissed: metrics.missed }
  }

  posts.forEach(fill)
  return { health: () => together(posts, draining), faults, metrics: () => metrics.collect(), counts, drain }
}

const unknown: Health = { started: false, ready: false, checks: { server: 'starting' } }

const together = (posts: readonly Post[], draining: boolean): Health => ({
  started: posts.every(({ health }) => health.started),
  ready: !draining && posts.some(({ health }) => health.ready),
  checks: Object.fromEntries(
    posts.flatMap(({ number, health }) =>
      Object.entries(health.checks).map(([name, value]) => [`worker ${number} ${name}`, value]),
    ),
  ),
})
