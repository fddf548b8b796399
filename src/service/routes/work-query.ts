import * as z from 'zod'
import { toMicrosecond } from '../../kit/units.ts'
import { requireDatabase } from '../db/database.ts'
import { sleep } from '../db/queries/sleep.ts'
import { cancellation } from '../http/cancellation.ts'
import { answerJson } from '../http/json.ts'
import { integer, parameters } from '../http/parameters.ts'
import type { Route } from './route.ts'

/** `GET /work/query?ms=`: a slow statement on a connection of its own; cancelled on the server if the client goes. */
export const workQuery: Route = (api, { config, database, clock }) => {
  const schema = z.strictObject({ ms: integer(0, config.work.maxMs) })
  api.get('/work/query', { summary: '', answers: {} }, async (ctx) => {
    const { ms } = parameters(ctx, schema)
    const start = clock.now()
    await requireDatabase(database).runLong(sleep, [ms / 1000], cancellation(ctx))
    answerJson(ctx, { ms, tookMs: toMicrosecond(clock.now() - start) })
  })
}
