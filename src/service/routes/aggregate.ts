import * as z from 'zod'
import { readAs } from '../../kit/input.ts'
import { parentHeaders } from '../../kit/trace.ts'
import { json, type Operation } from '../http/api.ts'
import { cancellation } from '../http/cancellation.ts'
import { documented, parameters } from '../http/parameters.ts'
import type { ServiceContext } from '../http/lean-koa.ts'
import { harmlessId } from '../http/problem.ts'
import { rawHeader } from '../http/raw-header.ts'
import type { CallResult } from '../upstreams/source-call.ts'
import type { Aggregate } from '../upstreams/upstreams.ts'
import { failedStatuses } from '../upstreams/verdict.ts'
import type { Route } from './route.ts'
import { milliseconds, tookMs } from './schemas.ts'

/** `GET /aggregate?source=weather&source=news`: asks several upstreams at once; tells what came in time, and what not. */
export const aggregate: Route = (api, { upstreams }) => {
  const query = z.strictObject({ source: sources(upstreams.names) })
  api.get('/aggregate', { ...operation, query }, async (ctx) => {
    const { source } = parameters(ctx, query)
    const id = requestId(rawHeader(ctx.req, 'x-request-id'))
    const found = await upstreams.aggregate(source, cancellation(ctx), id, traceContext(ctx))
    ctx.reply(200, 'application/json', jsonOf(found))
  })
}

/** The names asked for, each once; all that there are where none is. */
const sources = (names: readonly string[]): z.ZodType<string[]> => {
  const accepted = `each at most once: ${names.join(', ')}`
  const read = (given: unknown): string[] | undefined => {
    const asked = [given].flat() as string[]
    return new Set(asked).size === asked.length && asked.every((name) => names.includes(name)) ? asked : undefined
  }
  const schema = { type: 'array', items: { type: 'string', enum: names }, uniqueItems: true, default: names }
  return readAs(accepted, read)
    .register(documented, { schema })
    .default([...names])
    .register(documented, { schema })
}

const requestId = (given: string | undefined): string | undefined =>
  given !== undefined && harmlessId.test(given) ? given : undefined

/**
 * The trace that upstreams shall join: that of the request; where requests have none here, the one that the caller has
 * named, as it came.
 */
const traceContext = (ctx: ServiceContext): readonly string[] => {
  const trace = ctx.app.observer?.traceOf(ctx)
  if (trace !== undefined) return parentHeaders(trace.root)
  return ['traceparent', 'tracestate'].flatMap((name) => {
    const value = rawHeader(ctx.req, name)
    return value === undefined ? [] : [name, value]
  })
}

/** Bodies stand in it as the upstreams wrote them: long numbers keep their digits, and deep nesting needs no stack. */
const jsonOf = ({ sources, ...rest }: Aggregate): string => {
  const members = sources.map(({ name, ...result }) => `${JSON.stringify(name)}:${resultJson(result)}`)
  return `${JSON.stringify(rest).slice(0, -1)},"sources":{${members.join(',')}}}`
}

const resultJson = (result: CallResult): string => {
  if (result.status !== 'ok') return JSON.stringify(result)
  const { body, ...rest } = result
  return `${JSON.stringify(rest).slice(0, -1)},"body":${body}}`
}

const common = () => ({
  tookMs: tookMs(),
  attempts: z
    .int()
    .min(0)
    .describe('How often it was called: retries and hedges included, none while its circuit is open.'),
  hedged: z.boolean().describe('A second attempt was made beside one that had not been answered.'),
})

const aggregated = (): z.ZodType =>
  z.strictObject({
    complete: z.boolean().describe('All sources gave their answer.'),
    tookMs: milliseconds('As long as the slowest source, not as their sum, in ms.'),
    sources: z
      .record(
        z.string(),
        z.union([
          z.strictObject({
            status: z.literal('ok'),
            httpStatus: z.int().min(200).max(299),
            ...common(),
            body: z.unknown().describe('What the upstream answered, at most 1 MiB.'),
          }),
          z.strictObject({
            status: z.enum(failedStatuses),
            httpStatus: z.int().min(100).max(599).optional(),
            detail: z.string(),
            ...common(),
          }),
        ]),
      )
      .describe('By name, in the order asked for.'),
  })

const operation: Omit<Operation, 'query'> = {
  summary: 'Ask several upstreams at once',
  description: `Calls each named upstream of \`UPSTREAMS\` and answers with what came within \`UPSTREAM_TIMEOUT_MS\` and the
request's own deadline, which is passed on. Each source has a status: \`ok\`; \`timeout\`; \`error\` (not reached, broken off,
5xx); \`refused\` (4xx, or all connections to it are in use); \`invalid\` (no JSON, more than 1 MiB, a redirect); \`circuit-open\` (not called, because it failed
too often). Failed calls are made again and slow ones hedged within a budget, \`UPSTREAM_RETRY_BUDGET_PERCENT\` of the
requests.`,
  answers: json('At least one source gave its answer.', aggregated),
  problems: ['upstreams-failed', 'deadline-exceeded'],
}
