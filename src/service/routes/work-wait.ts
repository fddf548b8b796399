import * as z from 'zod'
import { toMicrosecond } from '../../kit/units.ts'
import { cancellation } from '../http/cancellation.ts'
import { answerJson } from '../http/json.ts'
import { integer, parameters } from '../http/parameters.ts'
import { wait } from '../work/wait.ts'
import type { Route } from './route.ts'

/** `GET /work/wait?ms=`: waits without occupying anything, as for an upstream that takes its time. */
export const workWait: Route = (api, { config, clock }) => {
  const schema = z.strictObject({ ms: integer(0, config.work.maxMs) })
  api.get('/work/wait', { summary: '', answers: {} }, async (ctx) => {
    const { ms } = parameters(ctx, schema)
    const start = clock.now()
    await wait(ms, cancellation(ctx), clock)
    answerJson(ctx, { ms, tookMs: toMicrosecond(clock.now() - start) })
  })
}
