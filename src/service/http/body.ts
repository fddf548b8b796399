import getRawBody from 'raw-body'
import type * as z from 'zod'
import type { ProblemCode } from '../../contract/problems.ts'
import type { Cancellation } from '../../kit/cancellation.ts'
import { Failure, InputError } from '../../kit/errors.ts'
import { mistakesOf } from '../../kit/input.ts'
import { processClock } from '../../kit/timers.ts'
import { cancellation } from './cancellation.ts'
import type { ServiceContext } from './lean-koa.ts'

type BodySchema = z.ZodObject<Readonly<Record<string, z.ZodType>>>

/** A body as it came and as it was understood. */
export type JsonBody<Data> = { readonly text: string; readonly data: Data }

/**
 * Reads a JSON object of at most `maxBytes`, within the application's `bodyTimeoutMs`; the request's deadline counts from
 * here, if it does not yet. Throws `unsupported-media-type`, `body-too-large`, `request-timeout`, `malformed-request`, or
 * `InputError` with all its mistakes.
 */
export const readJson = async <Schema extends BodySchema>(
  ctx: ServiceContext,
  schema: Schema,
  maxBytes: number,
): Promise<JsonBody<z.output<Schema>>> => {
  const cancel = cancellation(ctx)
  cancel.throwIfAborted()
  const type = ctx.req.headers['content-type']
  if (type === undefined || !/^application\/(?:[\w.+-]+\+)?json\s*(;|$)/i.test(type)) {
    throw new Failure<ProblemCode>('unsupported-media-type', { detail: 'send application/json' })
  }
  const text = await readText(ctx, maxBytes, cancel)
  const given = parseObject(text)
  const result = schema.safeParse(given)
  if (!result.success) throw new InputError(mistakesOf(schema, given, result.error))
  return { text, data: result.data }
}

const readText = async (ctx: ServiceContext, maxBytes: number, cancel: Cancellation): Promise<string> => {
  const { req } = ctx
  // raw-body's errors carry the status: 413 too large, 400 aborted or of another length than announced.
  const reading = getRawBody(req, { limit: maxBytes, length: req.headers['content-length'] ?? null })
  const startMs = processClock.now()
  // However slow it comes, it says nothing of the load.
  const bytes = await inTime(ctx, reading, cancel).finally(() => (ctx.requestedMs += processClock.now() - startMs))
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw malformed('the body is not UTF-8')
  }
}

/**
 * Rejects with `request-timeout`, and ends the connection with that answer, when a body is late; with the reason of
 * `cancel` when nobody waits for it any more.
 */
const inTime = async (
  { app, res }: ServiceContext,
  reading: Promise<Buffer>,
  cancel: Cancellation,
): Promise<Buffer> => {
  const { bodyTimeoutMs } = app
  const given = Promise.withResolvers<Buffer>()
  const abandon = (): void => given.reject(cancel.reason)
  const timer =
    bodyTimeoutMs === undefined
      ? undefined
      : setTimeout(() => {
          res.shouldKeepAlive = false
          const detail = `the body took more than ${bodyTimeoutMs} ms`
          given.reject(new Failure<ProblemCode>('request-timeout', { detail }))
        }, bodyTimeoutMs)
  cancel.addEventListener('abort', abandon)
  reading.then(given.resolve, given.reject)
  try {
    return await given.promise
  } finally {
    clearTimeout(timer)
    cancel.removeEventListener('abort', abandon)
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
