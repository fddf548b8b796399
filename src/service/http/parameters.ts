import { parse } from 'node:querystring'
import { validate as isUuid } from 'uuid'
import * as z from 'zod'
import { InputError } from '../../kit/errors.ts'
import { mistakesOf, textAs, wholeWithin } from '../../kit/input.ts'
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
  const schema = { type: 'integer', minimum: min, maximum: max }
  const parsed = textAs(`one whole number from ${min} to ${max}`, wholeWithin(min, max)).register(documented, {
    schema,
  })
  if (preset === undefined) return parsed
  // To zod the default is one of the text, which it cannot know.
  return parsed.default(preset).register(documented, { schema: { ...schema, default: preset } })
}

/** A list of whole numbers within bounds, separated by commas. */
export const integers = (min: number, max: number, most: number): z.ZodType<number[], string | undefined> => {
  const accepted = `1 to ${most} whole numbers from ${min} to ${max}, separated by commas`
  const read = wholeWithin(min, max)
  const readAll = (text: string): number[] | undefined => {
    const values = text.split(',', most + 1).map(read)
    return values.length <= most && values.every((value) => value !== undefined) ? values : undefined
  }
  return textAs(accepted, readAll).register(documented, {
    schema: { type: 'array', items: { type: 'integer', minimum: min, maximum: max }, minItems: 1, maxItems: most },
    separator: ',',
  })
}

const uuidSchema = { type: 'string', format: 'uuid' }

const readUuid = (text: string): string | undefined => (isUuid(text) ? text.toLowerCase() : undefined)

/** The id of one thing of a list, a UUID that comes out in lower case. Absent: the default. */
export const listedId = (accepted: string, preset: string): z.ZodType<string, string | undefined> =>
  textAs(accepted, readUuid)
    .register(documented, { schema: uuidSchema })
    .default(preset)
    .register(documented, { schema: uuidSchema })

/** The parameter of a path such as `/items/:id`, for the document. */
export const idPath = (): ParameterSchema =>
  z.strictObject({ id: z.string().register(documented, { schema: uuidSchema }) })

/** The UUID in a path such as `/items/:id`, in lower case. Throws `InputError` where it is none. */
export const pathId = ({ params }: ServiceContext, accepted: string): string => {
  const id = readUuid(params['id']!)
  if (id === undefined) throw new InputError([{ field: 'id', value: params['id'], accepted }])
  return id
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
