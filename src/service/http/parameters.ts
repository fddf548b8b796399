import { parse } from 'node:querystring'
import * as z from 'zod'
import { InputError } from '../../kit/errors.ts'
import { mistakesOf } from '../../kit/input.ts'
import type { ServiceContext } from './lean-koa.ts'

/** Query parameters of a route: a name and a schema each, made with the functions below. */
export type ParameterSchema = z.ZodObject<Readonly<Record<string, z.ZodType>>>

/** A whole number within bounds. Absent: the default, or a mistake where there is none. */
export const integer = (min: number, max: number, preset?: number): z.ZodType<number, string | undefined> => {
  const accepted = `one whole number from ${min} to ${max}`
  const parsed = z
    .string(accepted)
    .regex(/^\d{1,15}$/, accepted)
    .transform(Number)
    .refine((value) => value >= min && value <= max, accepted)
  const known = preset === undefined ? parsed : parsed.default(preset)
  return known.describe(accepted)
}

/** A list of whole numbers within bounds, separated by commas. */
export const integers = (min: number, max: number, most: number): z.ZodType<number[], string> => {
  const accepted = `1 to ${most} whole numbers from ${min} to ${max}, separated by commas`
  return z
    .string(accepted)
    .regex(/^\d{1,15}(,\d{1,15})*$/, accepted)
    .transform((text) => text.split(',').map(Number))
    .refine((values) => values.length <= most && values.every((value) => value >= min && value <= max), accepted)
    .describe(accepted)
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
