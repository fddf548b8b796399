import * as z from 'zod'

/** Pieces of answers that several routes describe. Each call makes a schema: they are for documents and tests only. */

/** A time span. */
export const milliseconds = (description: string): z.ZodType => z.number().min(0).describe(description)

/** What was asked for, told again next to what it took. */
export const askedMs = (): z.ZodType => z.int().min(0).describe('What was asked for, in ms.')

export const tookMs = (): z.ZodType => milliseconds('What it took on the wall clock, in ms, to the microsecond.')

/** What CPU work really used. */
export const burn = (): z.ZodObject =>
  z.strictObject({
    ms: askedMs(),
    cpuMs: milliseconds('The CPU time that the thread used, in ms.'),
    tookMs: tookMs(),
    iterations: z.int().min(0).describe('Rounds of a fixed piece of arithmetic.'),
  })
