import type { Clock } from '../../kit/timers.ts'
import { holdMemory } from '../work/memory.ts'

/** Memory that is held from a plan's start to its end. */
export type Leak = Disposable & {
  /** MiB that are resident now. */
  readonly mb: number
}

/** As `holdMemory`: holds so many MiB until the signal aborts, and then rejects. */
export type Hold = (mb: number, ms: number, signal: AbortSignal, clock: Clock) => Promise<void>

export type LeakRate = { readonly mbPerSecond: number; readonly upToMb: number }

const stepMs = 100
/** What a timer can hold: nobody waits so long. */
const foreverMs = 2 ** 31 - 1

/**
 * Makes memory resident, whole MiB at even steps of time, until it has reached the limit; gives it all back to the
 * system at once when disposed of. It ends where it stands when the system has no more to give.
 */
export const startLeak = ({ mbPerSecond, upToMb }: LeakRate, clock: Clock, hold: Hold = holdMemory): Leak => {
  const end = new AbortController()
  const startMs = clock.now()
  let mb = 0
  let timer: unknown

  const grow = (): void => {
    const dueMb = Math.floor(Math.min(upToMb, ((clock.now() - startMs) / 1_000) * mbPerSecond))
    if (dueMb > mb) take(dueMb - mb)
    if (mb < upToMb) timer = clock.setTimeout(grow, stepMs)
  }

  const take = (stepMb: number): void => {
    mb += stepMb
    hold(stepMb, foreverMs, end.signal, clock).catch(() => {
      mb -= stepMb
      // Not by the end of the leak, then: there was no memory to be had.
      if (!end.signal.aborted) clock.clearTimeout(timer as never)
    })
  }

  grow()
  return {
    get mb() {
      return mb
    },
    [Symbol.dispose]: () => {
      clock.clearTimeout(timer as never)
      end.abort()
    },
  }
}
