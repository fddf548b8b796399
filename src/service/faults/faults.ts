import type { ProblemCode } from '../../contract/problems.ts'
import { Failure } from '../../kit/errors.ts'
import { type Random, seededRandom } from '../../kit/random.ts'
import type { Clock } from '../../kit/timers.ts'
import { toMicrosecond } from '../../kit/units.ts'
import { cancellation } from '../http/cancellation.ts'
import type { ServiceContext, ServiceMiddleware } from '../http/lean-koa.ts'
import { wait } from '../work/wait.ts'
import { latencySampler } from './latency.ts'
import { type Leak, startLeak } from './leak.ts'
import { type FaultPlan, isOff, noFaults } from './plan.ts'
import { sleepThread, startStalls, type Stalls } from './stalls.ts'

export type FaultsOptions = {
  readonly clock: Clock
  /** Number of this worker: each draws faults of its own from the plan's seed. Default 1. */
  readonly worker?: number
  /** Holds the calling thread up for so many ms. Default: it sleeps. */
  readonly holdUp?: (ms: number) => void
}

/** What the faults have done since they began, and go on to tell when they have ended. */
export type FaultCounts = {
  /** Requests that came while there were faults. */
  readonly requests: number
  /** Those of them that were made to wait. */
  readonly delayedRequests: number
  /** How long they were made to wait, in all. */
  readonly addedLatencyMs: number
  /** Those that were answered `injected-fault`. */
  readonly failedRequests: number
  readonly stalls: number
  /** Held now, in MiB. */
  readonly leakedMb: number
}

export type FaultReport = {
  readonly active: boolean
  /** What is in effect. */
  readonly faults: FaultPlan
  /** For how long it has been, in ms; 0 when nothing is. */
  readonly activeForMs: number
  /** When it ends by itself, in ms from now; null: it does not. */
  readonly endsInMs: number | null
  readonly counts: FaultCounts
}

/**
 * The faults of one process. It is *sound* (`#injection` undefined), or a plan is in effect: from `set` until `end`, or
 * another `set`, or until the plan's time is over. A plan takes effect as a whole: what the one before it leaked is free,
 * its counts are gone, and random numbers start from the seed, so that an experiment that sets the same plan again meets
 * the same faults.
 */
export class Faults {
  /** Told when readiness may have changed. */
  onChange: () => void = () => {}
  #injection: Injection | undefined
  #counts: FaultCounts = noCounts
  readonly #options: FaultsOptions

  constructor(options: FaultsOptions) {
    this.#options = options
  }

  /** Whether the process is to say that it is not ready. */
  get unready(): boolean {
    return this.#injection?.plan.ready === false
  }

  /** Puts a plan into effect instead of the one that is; an empty one is as good as `end`. */
  set(plan: FaultPlan): void {
    this.end()
    if (isOff(plan)) return
    this.#injection = new Injection(plan, this.#options, () => this.end())
    this.onChange()
  }

  /** Ends all faults. The counts stay to be read; a request that waits waits on. */
  end(): void {
    const ended = this.#injection
    if (ended === undefined) return
    this.#injection = undefined
    ended[Symbol.dispose]()
    this.#counts = { ...ended.counts(), leakedMb: 0 }
    this.onChange()
  }

  report(): FaultReport {
    const { plan = noFaults, activeForMs = 0, endsInMs = null } = this.#injection ?? {}
    const counts = this.#injection?.counts() ?? this.#counts
    return { active: this.#injection !== undefined, faults: plan, activeForMs, endsInMs, counts }
  }

  /** Lets requests meet the faults. Its place is behind admission: a slow dependency occupies a slot, too. */
  readonly middleware: ServiceMiddleware = (ctx, next) =>
    this.#injection === undefined ? next() : this.#injection.meet(ctx, next)
}

export const noCounts: FaultCounts = {
  requests: 0,
  delayedRequests: 0,
  addedLatencyMs: 0,
  failedRequests: 0,
  stalls: 0,
  leakedMb: 0,
}

/** A plan in effect, from its making to its disposal. */
class Injection implements Disposable {
  readonly plan: FaultPlan
  readonly #clock: Clock
  readonly #startMs: number
  readonly #delayMs: () => number
  readonly #fails: () => boolean
  readonly #leak: Leak | undefined
  readonly #stalls: Stalls | undefined
  readonly #expiry: unknown
  #requests = 0
  #delayed = 0
  #addedMs = 0
  #failed = 0

  constructor(plan: FaultPlan, { clock, worker = 1, holdUp = sleepThread }: FaultsOptions, onExpiry: () => void) {
    this.plan = plan
    this.#clock = clock
    this.#startMs = clock.now()
    this.#delayMs = this.#delays(streamOf(plan.seed, worker, 0))
    this.#fails = failing(plan.errors?.share ?? 0, streamOf(plan.seed, worker, 1))
    this.#leak = plan.leak && startLeak(plan.leak, clock)
    this.#stalls = plan.stalls && startStalls(plan.stalls, clock, holdUp)
    this.#expiry = plan.forMs === undefined ? undefined : clock.setTimeout(onExpiry, plan.forMs)
  }

  get activeForMs(): number {
    return toMicrosecond(this.#clock.now() - this.#startMs)
  }

  get endsInMs(): number | null {
    return this.plan.forMs === undefined ? null : Math.max(0, toMicrosecond(this.plan.forMs - this.activeForMs))
  }

  counts(): FaultCounts {
    return {
      requests: this.#requests,
      delayedRequests: this.#delayed,
      addedLatencyMs: toMicrosecond(this.#addedMs),
      failedRequests: this.#failed,
      stalls: this.#stalls?.count ?? 0,
      leakedMb: this.#leak?.mb ?? 0,
    }
  }

  /** Draws for a request when it comes, so that its faults do not depend on when others end. */
  async meet(ctx: ServiceContext, next: () => Promise<void>): Promise<void> {
    this.#requests++
    const delayMs = this.#delayMs()
    const fails = this.#fails()
    if (delayMs > 0) {
      this.#delayed++
      this.#addedMs += delayMs
      await wait(delayMs, cancellation(ctx), this.#clock)
    }
    if (fails) {
      this.#failed++
      throw injected()
    }
    await next()
  }

  [Symbol.dispose](): void {
    this.#clock.clearTimeout(this.#expiry as never)
    this.#stalls?.[Symbol.dispose]()
    this.#leak?.[Symbol.dispose]()
  }

  #delays(random: Random): () => number {
    const { latency, slowStart } = this.plan
    const drawMs = latency === undefined ? none : latencySampler(latency, random)
    if (slowStart === undefined) return drawMs
    return () => drawMs() + slowStart.latencyMs * Math.max(0, 1 - this.activeForMs / slowStart.forMs)
  }
}

const none = (): number => 0

/** Random numbers of its own for each worker and each kind of fault: errors do not change which latencies are drawn. */
const streamOf = (seed: number, worker: number, kind: 0 | 1): Random =>
  seededRandom(seed + 2 ** 32 * (2 * (worker - 1) + kind))

const failing =
  (share: number, random: Random): (() => boolean) =>
  () =>
    random() < share

const injected = (): Failure<ProblemCode> =>
  new Failure('injected-fault', { detail: 'one of the share of errors that PUT /faults asked for' })
