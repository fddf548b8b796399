import * as z from 'zod'
import { json, type Operation } from '../http/api.ts'
import { cancellation } from '../http/cancellation.ts'
import { answerJson } from '../http/json.ts'
import { integers, parameters } from '../http/parameters.ts'
import { gather } from '../work/gather.ts'
import type { Route } from './route.ts'
import { askedMs, tookMs } from './schemas.ts'

const mostParts = 100

/** `GET /work/gather?ms=2000,3000,1000`: waits for all at once; takes as long as the longest, not the sum. */
export const workGather: Route = (api, { config, clock }) => {
  const query = z.strictObject({ ms: integers(0, config.work.maxMs, mostParts) })
  const operation: Operation = {
    summary: 'Wait for several things at once',
    description:
      'As a request does that asks several back ends: it takes as long as the longest wait, not as their sum.',
    query,
    answers: json('After the longest wait; the parts stand in the order asked for.', gathered),
  }
  api.get('/work/gather', operation, async (ctx) => {
    const { ms } = parameters(ctx, query)
    ctx.requestedMs = Math.max(...ms)
    answerJson(ctx, await gather(ms, cancellation(ctx), clock))
  })
}

const gathered = (): z.ZodType =>
  z.strictObject({
    tookMs: tookMs(),
    parts: z
      .array(z.strictObject({ ms: askedMs(), tookMs: tookMs() }))
      .min(1)
      .max(mostParts),
  })
