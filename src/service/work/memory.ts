import { setImmediate } from 'node:timers/promises'
import type { Cancellation } from '../../kit/cancellation.ts'
import { processTimers, type Timers } from '../../kit/timers.ts'
import { wait } from './wait.ts'

const chunkMib = 4

/**
 * Allocates `mib` MiB outside the JavaScript heap, makes them resident, holds them for `ms` milliseconds from then on
 * and gives them back to the system, not waiting for a garbage collection. On abort gives them back at once and
 * rejects with `signal.reason`.
 */
export const holdMemory = async (
  mib: number,
  ms: number,
  signal?: Cancellation,
  timers: Timers = processTimers,
): Promise<void> => {
  const held: ArrayBuffer[] = []
  try {
    for (let left = mib; left > 0; left -= chunkMib) {
      signal?.throwIfAborted()
      held.push(allocateResident(Math.min(left, chunkMib)))
      // Page faults are slow: other requests get their turn between two chunks.
      await setImmediate()
    }
    await wait(ms, signal, timers)
  } finally {
    for (const buffer of held) release(buffer)
  }
}

/** Writes to every page: the kernel backs memory that was only allocated with nothing. */
const allocateResident = (mib: number): ArrayBuffer => {
  const buffer = new ArrayBuffer(mib * 1024 * 1024)
  new Uint8Array(buffer).fill(1)
  return buffer
}

/** Detaches the memory from its object, which frees it now; dropping the object would leave that to the collector. */
const release = (buffer: ArrayBuffer): void => {
  buffer.transfer(0)
}
