/** Where time comes from, and how to wait for a point of it. Times are milliseconds on one monotonic axis. */
export type Clock = {
  /** Monotonic, with sub-millisecond resolution; its zero has no meaning. */
  now(): number
  /** Calls `wake` once, from the event loop, at `atMs` or as soon after it as the loop allows; never before. */
  wakeAt(atMs: number, wake: () => void): void
}

/**
 * Timers of Node fire on whole milliseconds, up to one late. So a wait ends its sleep at least this long before its
 * time and spends the rest polling between turns of the event loop, which still serves sockets meanwhile.
 */
const shortestSleepMs = 2

const sleepThenPoll = (atMs: number, wake: () => void): void => {
  const poll = (): void => {
    const remainingMs = atMs - performance.now()
    if (remainingMs <= 0) wake()
    else if (remainingMs < shortestSleepMs) setImmediate(poll)
    else setTimeout(poll, Math.floor(remainingMs) - 1)
  }
  if (atMs - performance.now() < shortestSleepMs) setImmediate(poll)
  else poll()
}

/** The time of this process. A wait is precise to some tens of microseconds while the event loop is idle. */
export const systemClock: Clock = { now: () => performance.now(), wakeAt: sleepThenPoll }
