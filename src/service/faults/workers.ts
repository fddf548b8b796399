import type { Clock } from '../../kit/timers.ts'
import { toMicrosecond } from '../../kit/units.ts'
import { type Crashing, type FaultControl, noneRuns, noSuchWorker, type ReplicaFaultReport } from './control.ts'
import type { CrashKind } from './crash.ts'
import { type FaultCounts, type FaultReport, noCounts } from './faults.ts'
import { type FaultPlan, isOff, noFaults } from './plan.ts'
import type { FaultNews, FaultOrder } from './worker.ts'

export type WorkersFaultsOptions = {
  /** How many workers there are. */
  readonly count: number
  readonly clock: Clock
  readonly send: (worker: number, order: FaultOrder) => void
  /** Ends a worker with SIGKILL; it does so also while the worker's event loop is stalled. */
  readonly kill: (worker: number) => void
}

/** How long a worker may take to answer; a stall can be longer. */
const patienceMs = 1_000

/**
 * A worker as the parent sees it: *up* from the message with which it asks for its faults until it is gone. The channel
 * keeps the order and a worker answers each order once, so the first of `awaiting` belongs to the next answer.
 */
type Post = { up: boolean; lastTold: FaultCounts | undefined; readonly awaiting: (() => void)[] }

/**
 * The faults of several workers, kept by their parent: it tells them to those that run, and to each that comes up later
 * for what is left of their time. A worker that has been replaced starts its own part anew: slow start, leak, counts.
 */
export class WorkersFaults implements FaultControl {
  #plan: FaultPlan = noFaults
  #sinceMs = 0
  readonly #posts: readonly Post[]
  readonly #options: WorkersFaultsOptions

  constructor(options: WorkersFaultsOptions) {
    this.#options = options
    this.#posts = Array.from({ length: options.count }, () => ({ up: false, lastTold: undefined, awaiting: [] }))
  }

  async set(plan: FaultPlan): Promise<void> {
    this.#plan = plan
    this.#sinceMs = this.#options.clock.now()
    // What the last faults did can be read when they have ended.
    if (!isOff(plan)) for (const post of this.#posts) post.lastTold = undefined
    await this.#tellAll({ kind: 'set-faults', plan })
  }

  async report(): Promise<ReplicaFaultReport> {
    const answered = await this.#tellAll({ kind: 'report-faults' })
    const workers = this.#posts.map(({ lastTold = noCounts }, index) => {
      return { worker: index + 1, silent: !answered[index]!, ...lastTold }
    })
    return { ...this.#standing(), counts: workers.reduce(sum, noCounts), workers }
  }

  crashing(how: CrashKind, worker = this.#firstUp()): Crashing {
    const post = this.#posts[worker - 1]
    if (post === undefined) throw noSuchWorker(worker, this.#posts.length)
    if (!post.up) throw noneRuns(`worker ${worker} does not run now`)
    const { send, kill } = this.#options
    return { worker, crash: () => (how === 'kill' ? kill(worker) : send(worker, { kind: 'crash', how })) }
  }

  /** A worker has said something. */
  heard(worker: number, news: FaultNews): void {
    const post = this.#posts[worker - 1]!
    if (news.kind === 'faults-awaited') {
      post.up = true
      void this.#tell(worker, { kind: 'set-faults', plan: this.#left() })
    } else {
      post.lastTold = news.report.counts
      post.awaiting.shift()?.()
    }
  }

  /** A worker's process has ended: nobody waits for its answers any more. */
  gone(worker: number): void {
    const post = this.#posts[worker - 1]!
    post.up = false
    for (const stopWaiting of post.awaiting.splice(0)) stopWaiting()
  }

  #firstUp(): number {
    const index = this.#posts.findIndex(({ up }) => up)
    if (index === -1) throw noneRuns('no worker runs now')
    return index + 1
  }

  #tellAll(order: FaultOrder): Promise<boolean[]> {
    return Promise.all(this.#posts.map((_, index) => this.#tell(index + 1, order)))
  }

  /** Resolves with whether the worker has answered. */
  #tell(worker: number, order: FaultOrder): Promise<boolean> {
    const { up, awaiting } = this.#posts[worker - 1]!
    if (!up) return Promise.resolve(false)
    const { clock, send } = this.#options
    return new Promise((resolve) => {
      const timer = clock.setTimeout(() => resolve(false), patienceMs)
      awaiting.push(() => {
        clock.clearTimeout(timer as never)
        resolve(this.#posts[worker - 1]!.up)
      })
      send(worker, order)
    })
  }

  #standing(): Omit<FaultReport, 'counts'> {
    const left = this.#left()
    if (isOff(left)) return { active: false, faults: noFaults, activeForMs: 0, endsInMs: null }
    return {
      active: true,
      faults: this.#plan,
      activeForMs: toMicrosecond(this.#options.clock.now() - this.#sinceMs),
      endsInMs: left.forMs === undefined ? null : toMicrosecond(left.forMs),
    }
  }

  /** The plan for the rest of its time. */
  #left(): FaultPlan {
    if (this.#plan.forMs === undefined) return this.#plan
    const leftMs = this.#sinceMs + this.#plan.forMs - this.#options.clock.now()
    return leftMs <= 0 ? noFaults : { ...this.#plan, forMs: leftMs }
  }
}

const sum = (a: FaultCounts, b: FaultCounts): FaultCounts => ({
  requests: a.requests + b.requests,
  delayedRequests: a.delayedRequests + b.delayedRequests,
  addedLatencyMs: toMicrosecond(a.addedLatencyMs + b.addedLatencyMs),
  failedRequests: a.failedRequests + b.failedRequests,
  stalls: a.stalls + b.stalls,
  leakedMb: a.leakedMb + b.leakedMb,
})
