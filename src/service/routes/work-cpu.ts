import * as z from 'zod'
import { cancellation } from '../http/cancellation.ts'
import { answerJson } from '../http/json.ts'
import { integer, parameters } from '../http/parameters.ts'
import { block } from '../work/block.ts'
import type { Route } from './route.ts'

/** `GET /work/cpu?ms=`, `/work/block?ms=`, `/work/thread?ms=`: the same time in a thread, on the event loop, asleep. */
export const workCpu: Route = (api, { config, threads }) => {
  const schema = z.strictObject({ ms: integer(0, config.work.maxMs) })

  api.get('/work/cpu', { summary: '', answers: {} }, async (ctx) => {
    const { ms } = parameters(ctx, schema)
    answerJson(ctx, { ms, ...(await threads.cpu(ms, cancellation(ctx))) })
  })

  api.get('/work/block', { summary: '', answers: {} }, (ctx) => {
    const { ms } = parameters(ctx, schema)
    answerJson(ctx, { ms, ...block(ms) })
  })

  api.get('/work/thread', { summary: '', answers: {} }, async (ctx) => {
    const { ms } = parameters(ctx, schema)
    answerJson(ctx, { ms, ...(await threads.sleep(ms, cancellation(ctx))) })
  })
}
