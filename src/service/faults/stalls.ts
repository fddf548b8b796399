import type { Clock } from '../../kit/timers.ts'

export type Stalls = Disposable & {
  /** How many there were. */
  readonly count: number
}

export type StallRate = { readonly everyMs: number; readonly forMs: number }

/**
 * Stalls the event loop again and again, `everyMs` from the start of one to the start of the next, as collections of
 * garbage or synchronous reads of a slow disk do. `holdUp` holds the calling thread up for some milliseconds.
 */
export const startStalls = ({ everyMs, forMs }: StallRate, clock: Clock, holdUp: (ms: number) => void): Stalls => {
  let count = 0
  let dueMs = clock.now() + everyMs
  let timer: unknown

  const arm = (): void => {
    timer = clock.setTimeout(stall, dueMs - clock.now())
  }

  const stall = (): void => {
    const beganMs = clock.now()
    count++
    holdUp(forMs)
    dueMs += everyMs
    // A stall that comes late, because others keep the loop busy too, is not made up for by two in a row.
    if (dueMs <= clock.now()) dueMs = beganMs + everyMs
    arm()
  }

  arm()
  return {
    get count() {
      return count
    },
    [Symbol.dispose]: () => clock.clearTimeout(timer as never),
  }
}

/**
 * Holds the calling thread up without using its CPU: for just that long also where a core is shared or throttled, and a
 * stall of this replica takes nothing away from another on the same machine.
 */
export const sleepThread = (ms: number): void => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}
