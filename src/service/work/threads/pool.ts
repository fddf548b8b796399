import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Piscina } from 'piscina'
import { bounds } from '../../../contract/metrics.ts'
import type { ProblemCode } from '../../../contract/problems.ts'
import type { Cancellation } from '../../../kit/cancellation.ts'
import { errorTypeOf, Failure } from '../../../kit/errors.ts'
import { Buckets, Level } from '../../../kit/metrics.ts'
import { type Clock, processClock } from '../../../kit/timers.ts'
import type { Span } from '../../../kit/trace.ts'
import type { Burn } from '../burn.ts'
import { wait } from '../wait.ts'
import { cancelSlot, createSlots, isCancelled, openSlot, type Slots } from './slots.ts'
import type { Order, Sleep } from './task.ts'

export type ThreadsOptions = {
  /** How many tasks run at once, each in a thread of its own. */
  readonly size: number
  /** How many tasks may wait for a thread; 0: none, a task is refused unless a thread is idle. */
  readonly queueLength: number
  /** Told about a thread that failed while it had no task to fail with it. Default: nobody is told. */
  readonly onThreadError?: (error: Error) => void
  /** Only to measure by; default: that of the process. */
  readonly clock?: Pick<Clock, 'now'>
}

/** A look at the pool: `busy` and `queued` are tasks now, `completed` those done to the end since the start. */
export type ThreadsStats = Readonly<{ size: number; busy: number; queued: number; completed: number }>

/** Threads that do what would block the event loop. None is started before the first task or {@link Threads.warm}. */
export const createThreads = (options: ThreadsOptions): Threads => new Threads(options)

/** A task from its acceptance to its end. */
type Job = {
  readonly order: Omit<Order, 'slot'>
  readonly done: PromiseWithResolvers<unknown>
  readonly submittedMs: number
  /** Undefined where its request is not recorded; then neither is what follows. */
  readonly span: Span | undefined
  /** Its wait for a thread, while it waits, then what it does there. */
  part: Span | undefined
  /** Where it runs; undefined while it waits. */
  slot: number | undefined
}

/**
 * A task is first *waiting*, then *running*, then gone; or refused, and then it never enters.
 * - waiting: in `#waiting`, the oldest first. Leaves when a slot is free, or when nobody wants it any more.
 * - running: in `#running`, in a slot of its own. Leaves when its thread answers or dies, never earlier: a cancelled
 *   task gives its caller the reason at once, but keeps its slot until the thread is really free.
 *
 * `#free` holds the slots that no task runs in, so `#free.length + #running.size` is the pool's size. While a slot is
 * free nothing waits: whatever frees a slot or adds a task calls `#dispatch`. Hence piscina, which owns the life of the
 * threads, never gets more tasks than it has threads, and its own queue stays empty save while threads start.
 */
export class Threads {
  /** Tasks that run, and those that wait. */
  readonly busy = new Level()
  readonly queued = new Level()
  /** How long tasks waited for a thread, in seconds; those that did not wait are in it, with next to nothing. */
  readonly waits = new Buckets(bounds.wait)
  readonly #clock: Pick<Clock, 'now'>
  readonly #options: ThreadsOptions
  readonly #slots: Slots
  readonly #free: number[]
  readonly #waiting = new Set<Job>()
  readonly #running = new Set<Job>()
  /** The times asked for by all who wait or run, in ms. */
  #backlogMs = 0
  #completed = 0
  #pool: Promise<Piscina> | undefined
  #closed: Promise<void> | undefined
  #drained: (() => void) | undefined

  constructor(options: ThreadsOptions) {
    this.#options = options
    this.#clock = options.clock ?? processClock
    this.#slots = createSlots(options.size)
    this.#free = Array.from({ length: options.size }, (_, slot) => slot)
  }

  /** Uses `ms` milliseconds of CPU time in a thread. Rejects like {@link Threads.sleep}. */
  cpu(ms: number, signal?: Cancellation): Promise<Burn> {
    return this.#submit({ task: 'cpu', ms }, signal) as Promise<Burn>
  }

  /**
   * Makes a synchronous call in a thread that blocks it for `ms` milliseconds.
   *
   * Rejects at once with Failure `threads-busy` when the queue is full, and with Failure `draining` once the pool is
   * closing; with `signal.reason` on abort, which takes a waiting task out of the queue and frees a running one's
   * thread within some milliseconds.
   */
  sleep(ms: number, signal?: Cancellation): Promise<Sleep> {
    return this.#submit({ task: 'sleep', ms }, signal) as Promise<Sleep>
  }

  /** Starts all threads and calibrates them, so that the first tasks need not wait for that. */
  async warm(): Promise<void> {
    if (this.#closed !== undefined) throw draining()
    const pool = await this.#start()
    await Promise.all(this.#slots.values().map(() => pool.run(undefined, { name: 'warm' })))
  }

  stats(): ThreadsStats {
    const { size } = this.#options
    return { size, busy: this.#running.size, queued: this.#waiting.size, completed: this.#completed }
  }

  /**
   * Takes no more tasks, waits at most `timeoutMs` for those it has, fails the rest with Failure `draining`, and ends
   * the threads. A second call waits for the first.
   */
  close({ timeoutMs }: { readonly timeoutMs: number }): Promise<void> {
    this.#closed ??= this.#close(timeoutMs)
    return this.#closed
  }

  async #submit(order: Job['order'], signal: Cancellation | undefined): Promise<unknown> {
    this.#refuseUnlessRoom()
    signal?.throwIfAborted()
    const job = this.#jobOf(order, signal?.span)
    const cancel = (): void => this.#cancel(job, signal?.reason)
    signal?.addEventListener('abort', cancel, { once: true })
    this.#backlogMs += order.ms
    this.#waiting.add(job)
    this.#dispatch()
    if (job.slot === undefined) job.part = job.span?.child('thread queue', 'internal', job.submittedMs)
    try {
      const result = await job.done.promise
      endSpans(job)
      return result
    } catch (error) {
      endSpans(job, errorTypeOf(error))
      throw error
    } finally {
      this.#backlogMs -= order.ms
      signal?.removeEventListener('abort', cancel)
    }
  }

  #jobOf(order: Job['order'], parent: Span | undefined): Job {
    const submittedMs = this.#clock.now()
    const span = parent?.child('thread', 'internal', submittedMs).set('plimsoll.task', order.task)
    this.queued.add(submittedMs)
    return { order, done: Promise.withResolvers(), slot: undefined, submittedMs, span, part: undefined }
  }

  #refuseUnlessRoom(): void {
    if (this.#closed !== undefined) throw draining()
    const { size, queueLength } = this.#options
    if (this.#free.length > 0 || this.#waiting.size < queueLength) return
    // About when all tasks of now are done: a rough guess is better than one number for all loads.
    const retryAfterSeconds = Math.max(1, Math.ceil(this.#backlogMs / size / 1000))
    throw new Failure<ProblemCode>('threads-busy', { retryAfterSeconds })
  }

  #dispatch(): void {
    for (const job of this.#waiting) {
      const slot = this.#free.pop()
      if (slot === undefined) return
      this.#waiting.delete(job)
      this.#waited(job)
      void this.#run(job, slot)
    }
    if (this.#running.size === 0) this.#drained?.()
  }

  async #run(job: Job, slot: number): Promise<void> {
    const startMs = this.#clock.now()
    job.slot = slot
    openSlot(this.#slots, slot)
    this.#running.add(job)
    this.busy.add(startMs)
    job.part?.end(undefined, startMs)
    job.part = job.span?.child('thread run', 'internal', startMs)
    try {
      const pool = await this.#start()
      const order: Order = { ...job.order, slot }
      job.done.resolve(await pool.run(order))
      if (!isCancelled(this.#slots, slot)) this.#completed++
    } catch (error) {
      job.done.reject(error)
    } finally {
      this.#running.delete(job)
      this.busy.remove(this.#clock.now())
      this.#free.push(slot)
      this.#dispatch()
    }
  }

  #waited({ submittedMs }: Job): void {
    const nowMs = this.#clock.now()
    this.queued.remove(nowMs)
    this.waits.observe((nowMs - submittedMs) / 1_000)
  }

  #cancel(job: Job, reason: unknown): void {
    if (this.#waiting.delete(job)) this.#waited(job)
    if (job.slot !== undefined) cancelSlot(this.#slots, job.slot)
    job.done.reject(reason)
  }

  #start(): Promise<Piscina> {
    this.#pool ??= this.#createPool()
    return this.#pool
  }

  async #createPool(): Promise<Piscina> {
    // Piscina costs start time that a service whose first request is not for a thread need not pay.
    const { Piscina } = await import('piscina')
    const { size, onThreadError } = this.#options
    const pool = new Piscina({
      filename: fileURLToPath(new URL(`./task${extname(import.meta.url)}`, import.meta.url)),
      name: 'perform',
      minThreads: size,
      maxThreads: size,
      workerData: this.#slots,
      // A thread does arithmetic: it needs neither the preloads of the process nor its heap.
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 },
      recordTiming: false,
    })
    pool.on('error', (error: Error) => onThreadError?.(error))
    pool.on('workerDestroy', () => queueMicrotask(() => this.#abandonIfDead(pool)))
    return pool
  }

  /**
   * Piscina replaces a thread that dies, but not one that dies before it was ready, and then tasks would wait for ever.
   * Once no thread is left this ends them, and the next task starts anew.
   */
  #abandonIfDead(pool: Piscina): void {
    if (pool.threads.length > 0 || this.#closed !== undefined) return
    this.#pool = undefined
    void pool.destroy()
  }

  async #close(timeoutMs: number): Promise<void> {
    const stop = new AbortController()
    await Promise.race([this.#drain(), wait(timeoutMs, stop.signal)])
    stop.abort()
    for (const job of [...this.#waiting, ...this.#running]) this.#cancel(job, draining())
    await (await this.#pool)?.destroy()
  }

  async #drain(): Promise<void> {
    if (this.#running.size === 0) return
    await new Promise<void>((resolve) => {
      this.#drained = resolve
    })
  }
}

/** Ends what is told of a task with its caller's wait for it; its thread may have to be freed yet. */
const endSpans = ({ span, part }: Job, errorType?: string): void => {
  part?.end(errorType)
  span?.end(errorType)
}

const draining = (): Failure<ProblemCode> => new Failure<ProblemCode>('draining')
