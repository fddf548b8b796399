import * as z from 'zod'
import { departure } from '../http/departure.ts'
import { answerJson } from '../http/json.ts'
import { integer, parameters } from '../http/parameters.ts'
import { block } from '../work/block.ts'
import type { Route } from './route.ts'

/** `GET /work/cpu?ms=`, `/work/block?ms=`, `/work/thread?ms=`: the same time in a thread, on the event loop, asleep. */
export const workCpu: Route = (router, { config, threads }) => {
  const schema = z.strictObject({ ms: integer(0, config.work.maxMs) })

  router.get('/work/cpu', async (ctx) => {
    const { ms } = parameters(ctx, schema)
    answerJson(ctx, { ms, ...(await threads.cpu(ms, departure(ctx))) })
  })

  router.get('/work/block', (ctx) => {
    const { ms } = parameters(ctx, schema)
    answerJson(ctx, { ms, ...block(ms) })
  })

  router.get('/work/thread', async (ctx) => {
    const { ms } = parameters(ctx, schema)
    answerJson(ctx, { ms, ...(await threads.sleep(ms, departure(ctx))) })
  })
}
