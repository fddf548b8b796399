import type { Cancellation } from '../../kit/cancellation.ts'
import { processTimers, type Timers } from '../../kit/timers.ts'

/**
 * Resolves after `ms` milliseconds without occupying a thread; at once for 0. Rejects with `signal.reason` as soon as
 * the signal is aborted, and then leaves no timer behind.
 *
 * Without a signal it costs one timer and one promise. `ms` is at most 2^31 - 1, what a Node timer can hold.
 */
export const wait = (ms: number, signal?: Cancellation, timers: Timers = processTimers): Promise<void> => {
  if (signal !== undefined) return waitUnlessAborted(ms, signal, timers)
  // A Node timer of 0 ms waits for 1 ms.
  if (ms <= 0) return Promise.resolve()
  return new Promise((resolve) => {
    timers.setTimeout(resolve, ms)
  })
}

const waitUnlessAborted = (ms: number, signal: Cancellation, timers: Timers): Promise<void> => {
  if (signal.aborted) return Promise.reject(signal.reason)
  if (ms <= 0) return Promise.resolve()
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      timers.clearTimeout(timer as never)
      reject(signal.reason)
    }
    const timer = timers.setTimeout(() => {
      signal.removeEventListener('abort', abort)
      resolve()
    }, ms)
    signal.addEventListener('abort', abort, { once: true })
  })
}
