import * as z from 'zod'
import { InputError } from '../../kit/errors.ts'
import { mistakesOf } from '../../kit/input.ts'

/** The faults of a process, all of them: what is absent is off. See {@link planSchema} for what each field means. */
export type FaultPlan = z.output<ReturnType<typeof planSchema>>

export const noFaults: FaultPlan = { seed: 1 }

/** Whether a plan asks for nothing. */
export const isOff = (plan: FaultPlan): boolean => kinds.every((kind) => plan[kind] === undefined)

const kinds = ['latency', 'errors', 'ready', 'slowStart', 'leak', 'stalls'] as const

/** Reads a plan. Throws `InputError` with every mistake in it. */
export const parsePlan = (given: Readonly<Record<string, unknown>>): FaultPlan => {
  const schema = planSchema()
  const result = schema.safeParse(given)
  if (result.success) return result.data
  throw new InputError(mistakesOf(schema, given, result.error))
}

const number = (min: number, max: number): z.ZodNumber => {
  const accepted = `a number from ${min} to ${max}`
  return z.number(accepted).min(min, accepted).max(max, accepted).describe(accepted)
}

const whole = (min: number, max: number): z.ZodNumber => {
  const accepted = `a whole number from ${min} to ${max}`
  return z.int(accepted).min(min, accepted).max(max, accepted).describe(accepted)
}

/** An object with these fields and no others; the error says which. */
const fields = <Shape extends z.core.$ZodLooseShape>(shape: Shape) => {
  const names = Object.keys(shape).join(', ')
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? `only ${names}` : `an object with ${names}`),
  })
}

const minuteMs = 60_000
const hourMs = 60 * minuteMs

const latencyOf = <Name extends string, More extends z.core.$ZodLooseShape>(name: Name, more: More) =>
  fields({
    distribution: z.literal(name),
    meanMs: number(0.001, minuteMs),
    maxMs: number(0, minuteMs).default(minuteMs),
    ...more,
  })

const spreadRange = 'a number from 0 to meanMs'

const latencySchema = () =>
  z
    .discriminatedUnion(
      'distribution',
      [
        latencyOf('constant', {}),
        latencyOf('uniform', { spreadMs: number(0, minuteMs) }).refine(({ meanMs, spreadMs }) => spreadMs <= meanMs, {
          error: spreadRange,
          path: ['spreadMs'],
        }),
        latencyOf('exponential', {}),
        latencyOf('lognormal', { cv: number(0, 20).default(1) }),
        latencyOf('pareto', { shape: number(1.1, 100).default(2) }),
      ],
      {
        error: (issue) =>
          issue.code === 'invalid_union'
            ? 'one of constant, uniform, exponential, lognormal, pareto'
            : 'an object with distribution, meanMs, maxMs',
      },
    )
    .describe('Added to each request before its work starts; longer draws are cut to maxMs (60 s).')

const stallsSchema = () =>
  fields({ everyMs: number(10, hourMs), forMs: number(1, minuteMs) })
    .refine(({ everyMs, forMs }) => forMs < everyMs, { error: 'a number less than everyMs', path: ['forMs'] })
    .describe('Holds the event loop up for forMs, without CPU, each time everyMs after the last time began.')

const makeSchema = () =>
  z.strictObject({
    seed: whole(0, 2 ** 32 - 1)
      .default(1)
      .describe('The same plan with the same seed gives the same faults to the same requests.'),
    latency: latencySchema().optional(),
    errors: fields({ share: number(0, 1) })
      .describe('The share of requests, 0 to 1, that is answered 503 `injected-fault` instead of being worked on.')
      .optional(),
    ready: z
      .literal(false, 'false, or nothing')
      .describe('Not ready, whatever else: the load balancer takes the replica out. Requests that come are served.')
      .optional(),
    slowStart: fields({ forMs: number(1, hourMs), latencyMs: number(0.001, minuteMs) })
      .describe('Added latency that falls evenly to nothing in that time, as caches and the JIT warm up.')
      .optional(),
    leak: fields({ mbPerSecond: number(0.01, 1_024), upToMb: whole(1, 1_048_576) })
      .describe('Resident memory, in MiB, that grows up to a limit and is freed when the faults end.')
      .optional(),
    stalls: stallsSchema().optional(),
    forMs: number(1, 24 * hourMs)
      .describe('All faults end by themselves after that time; absent: when they are told to.')
      .optional(),
  })

let made: ReturnType<typeof makeSchema> | undefined

/** What `PUT /faults` takes. It is made when first needed: a replica that starts has no use for it. */
export const planSchema = (): ReturnType<typeof makeSchema> => (made ??= makeSchema())
