/**
 * One cell per task that may run at a time, shared by all threads: 0 while the task in it may go on, 1 once nobody
 * wants its result any more. The thread looks at it or sleeps on it, so a task ends early without killing its thread.
 */
export type Slots = Int32Array<SharedArrayBuffer>

const wanted = 0
const unwanted = 1

export const createSlots = (count: number): Slots =>
  new Int32Array(new SharedArrayBuffer(count * Int32Array.BYTES_PER_ELEMENT))

/** Prepares a free slot for its next task. */
export const openSlot = (slots: Slots, slot: number): void => {
  Atomics.store(slots, slot, wanted)
}

/** Ends the task in a slot early: wakes it when it sleeps; a burn sees it at its next look. */
export const cancelSlot = (slots: Slots, slot: number): void => {
  Atomics.store(slots, slot, unwanted)
  Atomics.notify(slots, slot)
}

export const isCancelled = (slots: Slots, slot: number): boolean => Atomics.load(slots, slot) !== wanted

/** Blocks the calling thread for `ms` milliseconds, or until the slot is cancelled. */
export const sleepInSlot = (slots: Slots, slot: number, ms: number): void => {
  Atomics.wait(slots, slot, wanted, ms)
}
