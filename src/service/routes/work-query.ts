import * as z from 'zod'
import { toMicrosecond } from '../../kit/units.ts'
import { requireDatabase } from '../db/database.ts'
import { sleep } from '../db/queries/sleep.ts'
import { databaseProblems, json, type Operation } from '../http/api.ts'
import { cancellation } from '../http/cancellation.ts'
import { answerJson } from '../http/json.ts'
import { integer, parameters } from '../http/parameters.ts'
import type { Route } from './route.ts'
import { askedMs, tookMs } from './schemas.ts'

/** `GET /work/query?ms=`: a slow statement on a connection of its own; cancelled on the server if the client goes. */
export const workQuery: Route = (api, { config, database, clock }) => {
  const query = z.strictObject({ ms: integer(0, config.work.maxMs) })
  const operation: Operation = {
    summary: 'Run a slow statement in the database',
    description:
      'It has a connection of its own, of `DATABASE_POOL` ones, and is cancelled on the server when the client goes.',
    query,
    answers: json('After the statement.', () => z.strictObject({ ms: askedMs(), tookMs: tookMs() })),
    problems: databaseProblems,
  }
  api.get('/work/query', operation, async (ctx) => {
    const { ms } = parameters(ctx, query)
    ctx.requestedMs = ms
    const start = clock.now()
    await requireDatabase(database).runLong(sleep, [ms / 1000], cancellation(ctx))
    answerJson(ctx, { ms, tookMs: toMicrosecond(clock.now() - start) })
  })
}
