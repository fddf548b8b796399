import * as z from 'zod'
import { toMicrosecond } from '../../kit/units.ts'
import { json, type Operation } from '../http/api.ts'
import { cancellation } from '../http/cancellation.ts'
import { answerJson } from '../http/json.ts'
import { integer, parameters } from '../http/parameters.ts'
import { wait } from '../work/wait.ts'
import type { Route } from './route.ts'
import { askedMs, tookMs } from './schemas.ts'

/** `GET /work/wait?ms=`: waits without occupying anything, as for an upstream that takes its time. */
export const workWait: Route = (api, { config, clock }) => {
  const query = z.strictObject({ ms: integer(0, config.work.maxMs) })
  const operation: Operation = {
    summary: 'Wait without occupying anything',
    description: 'As for an upstream that takes its time: thousands of these can wait at once in one process.',
    query,
    answers: json('After the wait.', () => z.strictObject({ ms: askedMs(), tookMs: tookMs() })),
  }
  api.get('/work/wait', operation, async (ctx) => {
    const { ms } = parameters(ctx, query)
    ctx.requestedMs = ms
    const start = clock.now()
    await wait(ms, cancellation(ctx), clock)
    answerJson(ctx, { ms, tookMs: toMicrosecond(clock.now() - start) })
  })
}
