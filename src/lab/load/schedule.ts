import type { Arrivals } from '../../contract/run-result.ts'
import { seededRandom, type Random } from '../../kit/random.ts'

/** When requests are meant to start, whatever the service does. Planned one by one: a long run takes no memory. */
export type Schedule = {
  /** Milliseconds from the start of the run to the next arrival, never less than before; Infinity after the last. */
  next(): number
}

export type SchedulePlan = {
  readonly arrivals: Arrivals
  readonly ratePerSecond: number
  /** All arrivals lie before this. */
  readonly endMs: number
  readonly seed: number
}

/** Plans the arrivals; the same plan always gives the same ones. */
export const planArrivals = (plan: SchedulePlan): Schedule =>
  plan.arrivals === 'constant' ? constantArrivals(plan) : poissonArrivals(plan, seededRandom(plan.seed))

/** Evenly spaced from 0 on. Each time is computed from its index, so that no error adds up. */
const constantArrivals = ({ ratePerSecond, endMs }: SchedulePlan): Schedule => {
  let index = 0
  return {
    next() {
      const atMs = (index++ * 1_000) / ratePerSecond
      return atMs < endMs ? atMs : Infinity
    },
  }
}

/** A Poisson process: gaps are independent and exponentially distributed, as with many users unaware of each other. */
const poissonArrivals = ({ ratePerSecond, endMs }: SchedulePlan, random: Random): Schedule => {
  const meanGapMs = 1_000 / ratePerSecond
  let atMs = 0
  return {
    next() {
      atMs -= Math.log(1 - random()) * meanGapMs
      return atMs < endMs ? atMs : Infinity
    },
  }
}
