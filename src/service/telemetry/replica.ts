import type { Health } from '../probes.ts'
import { cgroupMetrics } from './cgroup.ts'
import { type Collector, each, single } from './collect.ts'

/** How many workers there are and were. */
export type WorkerCounts = {
  readonly running: number
  readonly vacant: number
  readonly restarts: number
  readonly scrapesMissed: number
}

/** Of a replica that is one process: it is its only worker, and when that ends the replica does. */
export const onlyWorker: WorkerCounts = { running: 1, vacant: 0, restarts: 0, scrapesMissed: 0 }

/** What is told once for a replica, however many workers it has, by the process that has the admin port. */
export const replicaMetrics = (health: () => Health, workers: () => WorkerCounts): readonly Collector[] => [
  cgroupMetrics(),
  () => ({ plimsoll_ready: single(health().ready ? 1 : 0) }),
  () => {
    const { running, vacant, restarts, scrapesMissed } = workers()
    return {
      plimsoll_workers: each('state', { running, vacant }),
      plimsoll_worker_restarts_total: single(restarts),
      plimsoll_worker_scrapes_missed_total: single(scrapesMissed),
    }
  },
]
