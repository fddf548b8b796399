import { Failure, InputError } from '../../kit/errors.ts'
import type { Clock } from '../../kit/timers.ts'
import { cancellation } from '../http/cancellation.ts'
import type { Permit, ServiceContext, ServiceMiddleware } from '../http/lean-koa.ts'
import { problemReply } from '../http/problem.ts'
import { rawHeader } from '../http/raw-header.ts'
import { AdaptiveLimit } from './adaptive-limit.ts'
import { Limiter, type LimiterOptions } from './limiter.ts'
import type { AdmissionMeter } from './meter.ts'
import { priorities, type Priority, type Rank, Waiting } from './queue.ts'

export type AdmissionConfig = LimiterOptions & {
  /** `fixed`: `maxInFlight` is the limit. `adaptive`: it bounds the limit that is found. `off`: no limit. */
  readonly mode: 'fixed' | 'adaptive' | 'off'
  /** In lower case, the header that says how important a request is; undefined: all are alike. */
  readonly priorityHeader: string | undefined
}

export type AdmissionParts = {
  readonly clock: Clock
  /** Calls back once, after the event loop has looked for new requests; default `setImmediate`. */
  readonly nextTurn?: (callback: () => void) => unknown
  /** Default: nothing is measured but what is counted. */
  readonly meter?: AdmissionMeter | undefined
}

/** Why a request was refused. */
export type Refusal = 'queue-full' | 'queue-timeout' | 'displaced'

export type AdmissionStats = {
  /** How many may be in flight now. */
  readonly limit: number
  readonly inFlight: number
  readonly queued: number
  /** Since the start, as all that follow. */
  readonly accepted: number
  readonly refused: Readonly<Record<Refusal, number>>
  /** Ended in the queue by their client or their deadline. */
  readonly withdrawn: number
}

/** What decides whether a request is served now, later, or not at all. */
export type Admission = {
  /** To be used before any other. */
  readonly middleware: ServiceMiddleware
  readonly stats: () => AdmissionStats
}

/** Makes the admission of one application; undefined when it is off. */
export const createAdmission = (config: AdmissionConfig, parts: AdmissionParts): Admission | undefined => {
  if (config.mode === 'off') return undefined
  const gate = new Gate(config, parts)
  return { middleware: (ctx, next) => gate.enter(ctx, next), stats: () => gate.stats() }
}

type Next = () => Promise<unknown>

/**
 * The limiter at work before an application's handlers. Its states:
 *
 * - *abreast*: requests are admitted as they arrive, and a request that ends starts the next of the queue.
 * - *behind*: handlers hold the event loop most of the time. Requests that arrive meanwhile wait in the buffers of their
 *   sockets, unseen by the limiter, and would be served in one go, however many, each after all others. So they are
 *   queued, or refused when the queue is full, and one is started per turn of the event loop: between two starts it
 *   reads what has arrived. Entered when the `Stretches` say so; left in the first turn in which there is nothing to
 *   start.
 *
 * Invariants: `ctx.permit` is this gate exactly for those that have a slot of the limiter. While one is queued, another
 * is in flight, whose end starts it, or the gate is behind, and a turn is asked for. While one is queued a timer is set
 * that is not later than the first end of a wait.
 */
class Gate implements Permit {
  readonly #limiter: Limiter<Queued>
  readonly #adaptive: AdaptiveLimit | undefined
  readonly #priorityHeader: string | undefined
  readonly #clock: Clock
  readonly #nextTurn: (callback: () => void) => unknown
  readonly #meter: AdmissionMeter | undefined
  /** The permit of a request whose time in flight has been measured already. */
  readonly #measured: Permit = { release: (ctx) => this.#free(ctx) }
  readonly #turn = (): void => this.#takeTurn()
  readonly #stretches = new Stretches()
  readonly #rate = new ReleaseRate()
  readonly #refused = { 'queue-full': 0, 'queue-timeout': 0, displaced: 0 }
  #behind = false
  #timerSet = false
  #accepted = 0
  #withdrawn = 0

  constructor(config: AdmissionConfig, { clock, nextTurn = setImmediate, meter }: AdmissionParts) {
    this.#limiter = new Limiter(config)
    this.#adaptive = config.mode === 'adaptive' ? new AdaptiveLimit({ maxLimit: config.maxInFlight }) : undefined
    this.#priorityHeader = config.priorityHeader
    this.#clock = clock
    this.#nextTurn = nextTurn
    this.#meter = meter
  }

  /** The middleware. What has a slot at once costs two looks at the clock and nothing that must be collected. */
  enter(ctx: ServiceContext, next: Next): Promise<unknown> {
    const rank = this.#priorityHeader === undefined ? normal : rankOf(ctx, this.#priorityHeader)
    if (this.#behind || !this.#limiter.admit(rank)) return this.#enqueue(ctx, next, rank)
    return this.#run(ctx, next, ctx.begunAtMs === 0 ? this.#clock.now() : ctx.begunAtMs)
  }

  /** Called when a handler has ended that had a slot. */
  release(ctx: ServiceContext): void {
    this.#meter?.inFlight.remove(this.#clock.now())
    this.#free(ctx)
  }

  #free(ctx: ServiceContext): void {
    this.#rate.count++
    if (this.#adaptive !== undefined) this.#learn(this.#adaptive, ctx)
    this.#limiter.release()
    if (this.#behind || this.#limiter.queued === 0) return
    // The second: where the limit has grown, more than its own slot is free.
    if (this.#startNext()) this.#startNext()
  }

  stats(): AdmissionStats {
    const { limit, inFlight, queued } = this.#limiter
    return {
      limit,
      inFlight,
      queued,
      accepted: this.#accepted,
      refused: { ...this.#refused },
      withdrawn: this.#withdrawn,
    }
  }

  #run(ctx: ServiceContext, next: Next, startMs: number): Promise<unknown> {
    this.#accepted++
    ctx.permit = this
    ctx.begunAtMs = startMs
    const meter = this.#meter
    meter?.inFlight.add(startMs)
    const ended = next()
    const endMs = this.#clock.now()
    if (meter !== undefined && isAnswered(ctx)) {
      ctx.permit = this.#measured
      meter.inFlight.remove(endMs)
    }
    if (endMs - startMs > longStretchMs) this.#note(startMs, endMs)
    return ended
  }

  #learn(adaptive: AdaptiveLimit, ctx: ServiceContext): void {
    // It went at its client's pace: a few slow uploads would look like a long wait of everybody.
    if (ctx.requestedMs === Infinity) return
    const nowMs = this.#clock.now()
    adaptive.sample(nowMs, nowMs - ctx.begunAtMs, ctx.requestedMs, this.#limiter.inFlight)
    this.#limiter.setLimit(adaptive.limit)
  }

  #enqueue(ctx: ServiceContext, next: Next, rank: Rank): Promise<unknown> {
    const entry = new Queued(ctx, rank)
    const shed = this.#limiter.enqueue(entry, this.#clock.now())
    if (shed === entry) return this.#shed(ctx, next, rank)
    if (shed !== undefined) this.#refuse(shed, 'displaced')
    return this.#queued(entry, next)
  }

  #shed(ctx: ServiceContext, next: Next, rank: Rank): Promise<unknown> {
    // It need not wait for its turn where there is no place to wait.
    if (rank === critical && this.#behind && this.#limiter.admit(rank)) return this.#run(ctx, next, this.#clock.now())
    this.#reply(ctx, 'queue-full')
    return answered
  }

  async #queued(entry: Queued, next: Next): Promise<unknown> {
    const { ctx, queuedAtMs } = entry
    const gone = this.#watch(entry)
    this.#meter?.queued.add(queuedAtMs)
    const span = gone.span?.child('admission queue', 'internal', queuedAtMs)
    const leave = (): void => {
      if (!this.#limiter.withdraw(entry)) return
      this.#withdrawn++
      entry.end('withdrawn')
    }
    gone.addEventListener('abort', leave)
    if (gone.aborted) leave()
    if (!this.#timerSet) this.#setTimer()
    const end = await entry.ended
    gone.removeEventListener('abort', leave)
    const nowMs = this.#clock.now()
    this.#meter?.waited(queuedAtMs, nowMs)
    span?.set('plimsoll.outcome', end).end(end === 'started' ? undefined : end, nowMs)
    if (end === 'withdrawn') throw gone.reason as Failure
    return end === 'started' ? this.#run(ctx, next, nowMs) : undefined
  }

  /** Throws where the request's deadline cannot be read. */
  #watch(entry: Queued): ReturnType<typeof cancellation> {
    try {
      return cancellation(entry.ctx)
    } catch (mistake) {
      this.#limiter.withdraw(entry)
      throw mistake
    }
  }

  #startNext(): boolean {
    const entry = this.#limiter.next()
    if (entry === undefined) return false
    entry.end('started')
    return true
  }

  #refuse(entry: Queued, why: Refusal): void {
    this.#reply(entry.ctx, why)
    entry.end(why)
  }

  #reply(ctx: ServiceContext, why: Refusal): void {
    this.#refused[why]++
    refusals[why](ctx, this.#rate.secondsFor(this.#limiter.queued + 1, this.#clock.now()))
  }

  /** A handler has held the event loop for long. */
  #note(startMs: number, endMs: number): void {
    this.#stretches.add(startMs, endMs, this.#accepted)
    if (this.#behind || !this.#stretches.prevail) return
    this.#behind = true
    this.#nextTurn(this.#turn)
  }

  #takeTurn(): void {
    this.#expire()
    this.#behind = this.#startNext()
    if (this.#behind) this.#nextTurn(this.#turn)
  }

  #setTimer(): void {
    if (this.#limiter.queued === 0) return
    this.#timerSet = true
    const ms = Math.max(1, this.#limiter.expiresAtMs - this.#clock.now())
    const timer = this.#clock.setTimeout(() => this.#onTimer(), ms)
    // It is not cleared when the queue is served; a process that has nothing else to do need not wait for it.
    if (timer instanceof Object && 'unref' in timer) (timer as NodeJS.Timeout).unref()
  }

  #onTimer(): void {
    this.#timerSet = false
    this.#expire()
    this.#setTimer()
  }

  #expire(): void {
    const nowMs = this.#clock.now()
    for (let entry = this.#limiter.expire(nowMs); entry !== undefined; entry = this.#limiter.expire(nowMs)) {
      this.#refuse(entry, 'queue-timeout')
    }
  }
}

/**
 * Whether a handler has ended already: it has nothing left to do but to be told so, a microtask later. Of others nothing is
 * known before they end, and that takes a look at the clock.
 */
const isAnswered = (ctx: ServiceContext): boolean => ctx.prepared !== undefined

const critical: Rank = 0
const normal: Rank = 1

const rankOf = (ctx: ServiceContext, header: string): Rank => {
  const value = rawHeader(ctx.req, header)
  if (value === undefined) return normal
  const rank = priorities.indexOf(value as Priority)
  if (rank === -1) throw new InputError([{ field: header, value, accepted: `one of ${priorities.join(', ')}` }])
  return rank as Rank
}

const refusals: Readonly<Record<Refusal, ReturnType<typeof problemReply>>> = {
  'queue-full': problemReply(
    'overloaded',
    'as many requests as are taken at once are in flight, and the queue is full',
  ),
  'queue-timeout': problemReply('overloaded', 'the request waited in the queue for as long as one may'),
  displaced: problemReply('overloaded', 'a request of higher priority took its place in the queue'),
}

/** What the middleware returns where the answer is written already. */
const answered = Promise.resolve()

type End = 'started' | Refusal | 'withdrawn'

/** A request that waits. */
class Queued extends Waiting {
  readonly ctx: ServiceContext
  readonly ended: Promise<End>
  readonly end: (how: End) => void

  constructor(ctx: ServiceContext, rank: Rank) {
    super(rank)
    this.ctx = ctx
    const { promise, resolve } = Promise.withResolvers<End>()
    this.ended = promise
    this.end = resolve
  }
}

/** A handler that holds the event loop for longer than this, in ms, keeps others waiting where nobody sees them. */
const longStretchMs = 1

/**
 * Says whether long stretches, in which a handler held the event loop, prevail: whether lately they took more time than
 * everything else, and more than a millisecond for each request that was started. One alone says nothing: the compiler,
 * the garbage collector, a CPU quota, or a neighbour on the core can stop any handler, and to refuse a crowd of harmless
 * requests for that would be wrong.
 */
class Stretches {
  /** Time in long stretches, one counting `mostEachMs` at most, minus what speaks against them; up to `mostBalanceMs`. */
  #balanceMs = 0
  #endMs = 0
  #started = 0

  get prevail(): boolean {
    return this.#balanceMs > prevalentMs
  }

  /** One has ended; so many requests have been started since the process was. */
  add(startMs: number, endMs: number, started: number): void {
    const againstMs = Math.max(startMs - this.#endMs, (started - this.#started) * longStretchMs)
    const stretchMs = Math.min(endMs - startMs, mostEachMs)
    this.#balanceMs = Math.min(Math.max(0, this.#balanceMs - againstMs) + stretchMs, mostBalanceMs)
    this.#endMs = endMs
    this.#started = started
  }
}

const mostEachMs = 15
const prevalentMs = 40
const mostBalanceMs = 60

/** How fast requests end, measured over a second or some; asked only when one is refused. */
class ReleaseRate {
  /** How many have ended. */
  count = 0
  #sinceMs = -Infinity
  #sinceCount = 0
  #perSecond = Infinity

  /** How long that many requests take, in whole seconds from 1 to 60; 1 where nothing is known yet. */
  secondsFor(requests: number, nowMs: number): number {
    const elapsedMs = nowMs - this.#sinceMs
    if (elapsedMs >= spanMs) this.#measure(elapsedMs, nowMs)
    return Math.min(Math.max(1, Math.ceil(requests / this.#perSecond)), longestRetryAfterSeconds)
  }

  #measure(elapsedMs: number, nowMs: number): void {
    // A longer span would count a time in which there was nothing to do.
    const known = elapsedMs < longestSpanMs
    this.#perSecond = known ? (Math.max(1, this.count - this.#sinceCount) * 1_000) / elapsedMs : Infinity
    this.#sinceMs = nowMs
    this.#sinceCount = this.count
  }
}

const spanMs = 1_000
const longestSpanMs = 5_000
const longestRetryAfterSeconds = 60
