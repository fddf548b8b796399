import { type Clock, processClock } from '../../kit/timers.ts'
import { toMicrosecond } from '../../kit/units.ts'
import { wait } from './wait.ts'
import type { Cancellation } from '../../kit/cancellation.ts'

/** What a gathering took: as a whole, and each part in the order asked for. */
export type Gathered = Readonly<{ tookMs: number; parts: readonly Part[] }>

/** One wait of a gathering: what was asked for and what it took. */
export type Part = Readonly<{ ms: number; tookMs: number }>

/**
 * Waits for all the given times (ms) at once, as a request does that fans out to several back ends: it takes as long
 * as the longest of them, not their sum. Rejects with `signal.reason` on abort and then leaves no timer behind.
 */
export const gather = async (
  times: readonly number[],
  signal?: Cancellation,
  clock: Clock = processClock,
): Promise<Gathered> => {
  const start = clock.now()
  const waitPart = async (ms: number): Promise<Part> => {
    await wait(ms, signal, clock)
    return { ms, tookMs: toMicrosecond(clock.now() - start) }
  }
  const parts = await Promise.all(times.map(waitPart))
  return { tookMs: toMicrosecond(clock.now() - start), parts }
}
