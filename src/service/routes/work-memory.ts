import * as z from 'zod'
import { toMicrosecond } from '../../kit/units.ts'
import { json, type Operation } from '../http/api.ts'
import { cancellation } from '../http/cancellation.ts'
import { answerJson } from '../http/json.ts'
import { integer, parameters } from '../http/parameters.ts'
import { holdMemory } from '../work/memory.ts'
import type { Route } from './route.ts'
import { askedMs, tookMs } from './schemas.ts'

/** `GET /work/memory?mb=&ms=`: makes that many MiB resident and holds them for that long. */
export const workMemory: Route = (api, { config, clock }) => {
  const query = z.strictObject({ mb: integer(0, config.work.maxMemoryMb), ms: integer(0, config.work.maxMs, 0) })
  const operation: Operation = {
    summary: 'Hold memory',
    description: 'Makes `mb` MiB resident, outside the JavaScript heap, and gives them back to the system after `ms`.',
    query,
    answers: json('After the memory is given back.', held),
  }
  api.get('/work/memory', operation, async (ctx) => {
    const { mb, ms } = parameters(ctx, query)
    ctx.requestedMs = ms
    const start = clock.now()
    await holdMemory(mb, ms, cancellation(ctx), clock)
    answerJson(ctx, { mb, ms, tookMs: toMicrosecond(clock.now() - start) })
  })
}

const held = (): z.ZodType =>
  z.strictObject({ mb: z.int().min(0).describe('What was held, in MiB.'), ms: askedMs(), tookMs: tookMs() })
