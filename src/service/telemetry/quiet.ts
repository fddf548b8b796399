import { performance } from 'node:perf_hooks'
import type { Clock } from '../../kit/timers.ts'
import { wait } from '../work/wait.ts'

export type QuietOptions = {
  readonly clock: Clock
  /** Ends the wait. */
  readonly signal: AbortSignal
  /** Asked at each look: true ends the wait. */
  readonly urgent: () => boolean
  /** Time since the start in which this process was busy, and was not, in ms; default: the event loop's. */
  readonly loopTimes?: () => LoopTimes
}

type LoopTimes = { readonly active: number; readonly idle: number }

const lookMs = 50
const longestMs = 1_000
const quietShare = 0.5

/**
 * Waits for a moment in which work that holds up the event loop disturbs few: one with a quiet stretch of 50 ms before
 * it, or the first after a second, since a busy service has none.
 */
export const whenQuiet = async ({
  clock,
  signal,
  urgent,
  loopTimes = loopTimesOfProcess,
}: QuietOptions): Promise<void> => {
  const untilMs = clock.now() + longestMs
  for (let before = loopTimes(); !signal.aborted && !urgent() && clock.now() < untilMs;) {
    // It rejects when the signal comes, and the loop ends.
    await wait(lookMs, signal, clock).catch(() => {})
    const now = loopTimes()
    const active = now.active - before.active
    if (active <= quietShare * (active + now.idle - before.idle)) return
    before = now
  }
}

const loopTimesOfProcess = (): LoopTimes => performance.eventLoopUtilization()
