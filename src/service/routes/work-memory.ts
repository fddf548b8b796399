import * as z from 'zod'
import { toMicrosecond } from '../../kit/units.ts'
import { cancellation } from '../http/cancellation.ts'
import { answerJson } from '../http/json.ts'
import { integer, parameters } from '../http/parameters.ts'
import { holdMemory } from '../work/memory.ts'
import type { Route } from './route.ts'

/** `GET /work/memory?mb=&ms=`: makes that many MiB resident and holds them for that long. */
export const workMemory: Route = (api, { config, clock }) => {
  const schema = z.strictObject({ mb: integer(0, config.work.maxMemoryMb), ms: integer(0, config.work.maxMs, 0) })
  api.get('/work/memory', { summary: '', answers: {} }, async (ctx) => {
    const { mb, ms } = parameters(ctx, schema)
    const start = clock.now()
    await holdMemory(mb, ms, cancellation(ctx), clock)
    answerJson(ctx, { mb, ms, tookMs: toMicrosecond(clock.now() - start) })
  })
}
