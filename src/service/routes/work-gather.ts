import * as z from 'zod'
import { cancellation } from '../http/cancellation.ts'
import { answerJson } from '../http/json.ts'
import { integers, parameters } from '../http/parameters.ts'
import { gather } from '../work/gather.ts'
import type { Route } from './route.ts'

const mostParts = 100

/** `GET /work/gather?ms=2000,3000,1000`: waits for all at once; takes as long as the longest, not the sum. */
export const workGather: Route = (api, { config, clock }) => {
  const schema = z.strictObject({ ms: integers(0, config.work.maxMs, mostParts) })
  api.get('/work/gather', { summary: '', answers: {} }, async (ctx) => {
    const { ms } = parameters(ctx, schema)
    answerJson(ctx, await gather(ms, cancellation(ctx), clock))
  })
}
