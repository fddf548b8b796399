import { workerData } from 'node:worker_threads'
import { toMicrosecond } from '../../../kit/units.ts'
import { createBurner, type Burn } from '../burn.ts'
import { isCancelled, sleepInSlot, type Slots } from './slots.ts'

/** What a blocking call in a thread took, on the wall clock. */
export type Sleep = Readonly<{ tookMs: number }>

/** The tasks that a thread does: what each is asked with, and what it answers. */
export type Tasks = {
  readonly cpu: (ms: number, slot: number) => Burn
  readonly sleep: (ms: number, slot: number) => Sleep
}

/** One task as it is sent to a thread; `slot` is where it can be cancelled. */
export type Order = Readonly<{ task: keyof Tasks; ms: number; slot: number }>

// Set for every thread of the pool by pool.ts.
const slots = workerData as Slots
const burner = createBurner()

const tasks: Tasks = {
  cpu: (ms, slot) => burner.burn(ms, () => isCancelled(slots, slot)),
  sleep: (ms, slot) => {
    const start = performance.now()
    sleepInSlot(slots, slot, ms)
    return { tookMs: toMicrosecond(performance.now() - start) }
  },
}

/** Does one task, called by piscina in the thread. */
export const perform = ({ task, ms, slot }: Order): Burn | Sleep => tasks[task](ms, slot)

/** Makes the thread ready for its first task, called by piscina in the thread. */
export const warm = (): void => burner.calibrate()
