import { createBurner, type Burn } from './burn.ts'

const burner = createBurner()

/**
 * Uses `ms` milliseconds of CPU time on the calling thread. On the event loop that is a mistake made on purpose: it
 * shows what one such request does to all others of the same process. Ends early once `stopped`, asked about every
 * millisecond, says so; only a clock can tell it, because no event is heard meanwhile.
 */
export const block = (ms: number, stopped?: () => boolean): Burn => burner.burn(ms, stopped)
