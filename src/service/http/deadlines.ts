import type { IncomingMessage } from 'node:http'
import { InputError } from '../../kit/errors.ts'
import type { Clock } from '../../kit/timers.ts'
import { rawHeader } from './raw-header.ts'

/** A request with a deadline. The fields but `expire` belong to `Deadlines`. */
export type Expiring = {
  /** On the service's clock; Infinity without one. */
  deadlineAtMs: number
  /** Set for a deadline that the client chose. */
  timer: unknown
  /** Neighbours in the list of those with the default deadline. */
  later: Expiring | undefined
  earlier: Expiring | undefined
  /** The deadline has passed. */
  expire(): void
}

export type DeadlineOptions = {
  /** How long a request may take that does not say. */
  readonly defaultMs: number
  /** Lower case. Its value is what the client grants in ms: a time span, because clocks of two machines differ. */
  readonly header: string
  readonly clock: Clock
}

/** More cannot be meant: a day. */
const longestMs = 86_400_000

/**
 * The deadlines of all requests at work. A client's header can shorten the default, not lengthen it, save for requests
 * that have no default deadline.
 *
 * Requests with the default deadline form a list, the oldest first, which is also the order in which they expire: one
 * timer for the first of them is enough. It is not moved when that one ends in time, as nearly all do; when it fires it
 * looks whose deadline has passed and is set for the next. Deadlines that clients chose have a timer each.
 */
export class Deadlines {
  readonly #options: DeadlineOptions
  #first: Expiring | undefined
  #last: Expiring | undefined
  #armed = false

  constructor(options: DeadlineOptions) {
    this.#options = options
  }

  /** Gives a request its deadline, counted from now. Throws `InputError` where the header cannot be read. */
  add(request: Expiring, req: IncomingMessage): void {
    const { defaultMs, clock } = this.#options
    const grantedMs = this.#granted(req)
    request.deadlineAtMs = clock.now() + Math.min(grantedMs ?? defaultMs, defaultMs)
    if (grantedMs === undefined) this.#append(request)
    else this.#time(request)
  }

  /** Takes the default deadline off a request. One that its client chose holds, also when it is later than the default. */
  unhurry(request: Expiring, req: IncomingMessage): void {
    if (request.timer === undefined) return this.remove(request)
    const moreMs = this.#granted(req)! - this.#options.defaultMs
    if (moreMs <= 0) return
    const deadlineAtMs = request.deadlineAtMs + moreMs
    this.remove(request)
    request.deadlineAtMs = deadlineAtMs
    this.#time(request)
  }

  /** What is left for a request. */
  remainingMs({ deadlineAtMs }: Expiring): number {
    return deadlineAtMs - this.#options.clock.now()
  }

  /** The request has ended, or needs its deadline no more. */
  remove(request: Expiring): void {
    request.deadlineAtMs = Infinity
    if (request.timer !== undefined) {
      this.#options.clock.clearTimeout(request.timer as never)
      request.timer = undefined
      return
    }
    const { earlier, later } = request
    if (earlier !== undefined) earlier.later = later
    else if (this.#first === request) this.#first = later
    if (later !== undefined) later.earlier = earlier
    else if (this.#last === request) this.#last = earlier
    request.earlier = request.later = undefined
  }

  #granted(req: IncomingMessage): number | undefined {
    const { header } = this.#options
    const given = rawHeader(req, header)
    if (given === undefined) return undefined
    const ms = /^\d{1,8}$/.test(given) ? Number(given) : 0
    if (ms < 1 || ms > longestMs) {
      throw new InputError([{ field: header, value: given, accepted: `whole milliseconds from 1 to ${longestMs}` }])
    }
    return ms
  }

  #time(request: Expiring): void {
    request.timer = this.#options.clock.setTimeout(() => request.expire(), this.remainingMs(request))
  }

  #append(request: Expiring): void {
    request.earlier = this.#last
    if (this.#last === undefined) this.#first = request
    else this.#last.later = request
    this.#last = request
    if (!this.#armed) this.#arm()
  }

  #arm(): void {
    if (this.#first === undefined) return
    this.#armed = true
    const timer = this.#options.clock.setTimeout(() => this.#expire(), Math.max(1, this.remainingMs(this.#first)))
    // A process that has nothing else to do need not wait for deadlines of requests that are gone.
    if (timer instanceof Object && 'unref' in timer) (timer as NodeJS.Timeout).unref()
  }

  #expire(): void {
    this.#armed = false
    for (let request = this.#first; request !== undefined && this.remainingMs(request) <= 0; request = this.#first) {
      this.remove(request)
      request.expire()
    }
    this.#arm()
  }
}
