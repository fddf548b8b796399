import getRawBody from 'raw-body'
import type * as z from 'zod'
import type { ProblemCode } from '../../contract/problems.ts'
import { Failure, InputError } from '../../kit/errors.ts'
import { mistakesOf } from '../../kit/input.ts'
import type { ServiceContext } from './lean-koa.ts'

type BodySchema = z.ZodObject<Readonly<Record<string, z.ZodType>>>

/** A body as it came and as it was understood. */
export type JsonBody<Data> = { readonly text: string; readonly data: Data }

/**
 * Reads a JSON object of at most `maxBytes`.
 * Throws `unsupported-media-type`, `body-too-large`, `malformed-request`, or `InputError` with all its mistakes.
 */
export const readJson = async <Schema extends BodySchema>(
  ctx: ServiceContext,
  schema: Schema,
  maxBytes: number,
): Promise<JsonBody<z.output<Schema>>> => {
  const type = ctx.req.headers['content-type']
  if (type === undefined || !/^application\/(?:[\w.+-]+\+)?json\s*(;|$)/i.test(type)) {
    throw new Failure<ProblemCode>('unsupported-media-type', { detail: 'send application/json' })
  }
  const text = await readText(ctx, maxBytes)
  const given = parseObject(text)
  const result = schema.safeParse(given)
  if (!result.success) throw new InputError(mistakesOf(schema, given, result.error))
  return { text, data: result.data }
}

const readText = async ({ req }: ServiceContext, maxBytes: number): Promise<string> => {
  // raw-body's errors carry the status: 413 too large, 400 aborted or of another length than announced.
  const bytes = await getRawBody(req, { limit: maxBytes, length: req.headers['content-length'] ?? null })
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw malformed('the body is not UTF-8')
  }
}

const parseObject = (text: string): Record<string, unknown> => {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw malformed(`the body is not JSON: ${(error as Error).message}`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed('the body is not an object')
  return value as Record<string, unknown>
}

const malformed = (detail: string): Failure<ProblemCode> => new Failure('malformed-request', { detail })
