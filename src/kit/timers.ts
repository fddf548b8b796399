/** Timers; a parameter so that tests can run on a virtual clock. */
export type Timers = Readonly<{
  setTimeout: (callback: () => void, ms: number) => unknown
  clearTimeout: (timer: never) => void
}>

/** The timers of this process. Looked up at each call, so that mocked ones are seen. */
export const processTimers: Timers = {
  setTimeout: (callback, ms) => setTimeout(callback, ms),
  clearTimeout: (timer) => clearTimeout(timer),
}

/** Monotonic milliseconds and the timers that belong to them. */
export type Clock = Timers & Readonly<{ now: () => number }>

/** The time of this process. */
export const processClock: Clock = { ...processTimers, now: () => performance.now() }
