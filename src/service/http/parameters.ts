import { parse } from 'node:querystring'
import * as z from 'zod'
import { InputError } from '../../kit/errors.ts'
import { mistakesOf } from '../../kit/input.ts'
import type { ServiceContext } from './lean-koa.ts'

/** Query parameters of a route: a name and a schema each, made with the functions below. */
export type ParameterSchema = z.ZodObject<Readonly<Record<string, z.ZodType>>>

/**
 * What a client should think of a parameter whose schema reads text, for the API document: in JSON Schema what the text
 * stands for, and, for a list, what separates its values. A list without a separator repeats the parameter.
 */
export type Documented = {
  readonly schema: Readonly<Record<string, unknown>>
  readonly separator?: ','
}

/** Parameters that read text but mean something else. */
export const documented: z.core.$ZodRegistry<Documented> = z.registry<Documented>()

/** A whole number within bounds. Absent: the default, or a mistake where there is none. */
export const integer = (min: number, max: number, preset?: number): z.ZodType<number, string | undefined> => {
  const accepted = `one whole number from ${min} to ${max}`
  const parsed = z
    .string(accepted)
    .regex(/^\d{1,15}$/, accepted)
    .transform(Number)
    .refine((value) => value >= min && value <= max, accepted)
  const known = preset === undefined ? parsed : parsed.default(preset)
  const schema = { type: 'integer', minimum: min, maximum: max, ...(preset !== undefined && { default: preset }) }
  return known.register(documented, { schema })
}

/** A list of whole numbers within bounds, separated by commas. */
export const integers = (min: number, max: number, most: number): z.ZodType<number[], string> => {
  const accepted = `1 to ${most} whole numbers from ${min} to ${max}, separated by commas`
  return z
    .string(accepted)
    .regex(/^\d{1,15}(,\d{1,15})*$/, accepted)
    .transform((text) => text.split(',').map(Number))
    .refine((values) => values.length <= most && values.every((value) => value >= min && value <= max), accepted)
    .register(documented, {
      schema: { type: 'array', items: { type: 'integer', minimum: min, maximum: max }, minItems: 1, maxItems: most },
      separator: ',',
    })
}

/**
 * Reads the query parameters that a route declares, and no others.
 * Throws `InputError` with every mistake: a parameter that is missing, wrong, given twice or not known here.
 */
export const parameters = <Schema extends ParameterSchema>(ctx: ServiceContext, schema: Schema): z.output<Schema> => {
  const given = parse(queryOf(ctx.req.url!), '&', '=', everyKey)
  const result = schema.safeParse(given)
  if (result.success) return result.data
  throw new InputError(mistakesOf(schema, given, result.error))
}

/** What stands behind a limit would go unread and unnamed; Node's bound on a request's head is limit enough. */
const everyKey = { maxKeys: 0 }

/** The query of a request target, still encoded; empty where there is none. */
export const queryOf = (url: string): string => {
  const at = url.indexOf('?')
  return at === -1 ? '' : url.slice(at + 1)
}
