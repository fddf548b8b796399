import { createBurner, type Burn } from './burn.ts'

const burner = createBurner()

/**
 * Uses `ms` milliseconds of CPU time on the calling thread. On the event loop that is a mistake made on purpose: it
 * shows what one such request does to all others of the same process.
 */
export const block = (ms: number): Burn => burner.burn(ms)
