import type { AdaptiveLimit } from '../../../src/service/admission/adaptive-limit.ts'
import { seededRandom, type Random } from '../../../src/kit/random.ts'

/** An open-loop stream of requests through a limit to a service with some slots and a queue of its own. */
export type Simulation = {
  readonly slots: (atMs: number) => number
  /** Of the Poisson arrivals. */
  readonly ratePerMs: (atMs: number) => number
  readonly serviceMs: (random: Random, atMs: number) => number
  /** Whether clients say how long the work is to take. */
  readonly asked: boolean
  readonly durationMs: number
  readonly seed: number
  readonly limit: AdaptiveLimit
}

/** What is seen every 10 ms. */
export type Moment = { readonly atMs: number; readonly limit: number; readonly latencyMs: number }

type Job = { readonly startedAtMs: number; readonly serviceMs: number }
type Event = { readonly atMs: number; readonly job: Job | undefined }

/** Requests that may wait before the limit. */
const admissionQueueLength = 20
const tickMs = 10

/** Runs it in virtual time. */
export const simulate = (simulation: Simulation): Moment[] => {
  const { slots, ratePerMs, serviceMs, asked, durationMs, limit } = simulation
  const random = seededRandom(simulation.seed)
  const events = new EventQueue()
  const queue = new Fifo<Job>()
  const moments: Moment[] = []
  let [queued, inFlight, busy] = [0, 0, 0]
  let [ended, endedMs] = [0, 0]

  const work = (atMs: number): void => {
    while (queue.length > 0 && busy < slots(atMs)) {
      const job = queue.shift()
      busy++
      events.push({ atMs: atMs + job.serviceMs, job })
    }
  }
  const admit = (atMs: number): void => {
    while (queued > 0 && inFlight < limit.limit) {
      queued--
      inFlight++
      queue.push({ startedAtMs: atMs, serviceMs: serviceMs(random, atMs) })
    }
    work(atMs)
  }
  const arrive = (atMs: number): void => {
    if (queued < admissionQueueLength) queued++
    admit(atMs)
    events.push({ atMs: atMs - Math.log(1 - random()) / ratePerMs(atMs), job: undefined })
  }
  const end = (atMs: number, job: Job): void => {
    const tookMs = atMs - job.startedAtMs
    limit.sample(atMs, tookMs, asked ? job.serviceMs : 0, inFlight)
    busy--
    inFlight--
    ended++
    endedMs += tookMs
    admit(atMs)
  }
  const look = (atMs: number): void => {
    moments.push({ atMs, limit: limit.limit, latencyMs: ended === 0 ? 0 : endedMs / ended })
    ended = endedMs = 0
  }

  events.push({ atMs: 0, job: undefined })
  for (let event = events.pop(); event.atMs < durationMs; event = events.pop()) {
    while ((moments.length + 1) * tickMs <= event.atMs) look((moments.length + 1) * tickMs)
    if (event.job === undefined) arrive(event.atMs)
    else end(event.atMs, event.job)
  }
  return moments
}

/** A queue whose first element is taken in constant time. */
class Fifo<Item> {
  #items: Item[] = []
  #first = 0

  get length(): number {
    return this.#items.length - this.#first
  }

  push(item: Item): void {
    this.#items.push(item)
  }

  shift(): Item {
    const item = this.#items[this.#first++]!
    if (this.#first > 1_000) {
      this.#items = this.#items.slice(this.#first)
      this.#first = 0
    }
    return item
  }
}

/** A binary heap, the earliest event on top. */
class EventQueue {
  readonly #events: Event[] = []

  push(event: Event): void {
    const events = this.#events
    let at = events.push(event) - 1
    for (let above = (at - 1) >> 1; at > 0 && events[above]!.atMs > event.atMs; above = (at - 1) >> 1) {
      events[at] = events[above]!
      at = above
    }
    events[at] = event
  }

  pop(): Event {
    const top = this.#events[0]!
    const last = this.#events.pop()!
    if (this.#events.length > 0) this.#sink(last)
    return top
  }

  #sink(event: Event): void {
    const events = this.#events
    let at = 0
    for (let below = 1; below < events.length; below = 2 * at + 1) {
      if (below + 1 < events.length && events[below + 1]!.atMs < events[below]!.atMs) below++
      if (events[below]!.atMs >= event.atMs) break
      events[at] = events[below]!
      at = below
    }
    events[at] = event
  }
}
