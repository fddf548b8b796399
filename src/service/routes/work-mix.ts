import * as z from 'zod'
import { toMicrosecond } from '../../kit/units.ts'
import { requireDatabase } from '../db/database.ts'
import { readRandomWorlds } from '../db/worlds.ts'
import { cancellation } from '../http/cancellation.ts'
import { answerJson } from '../http/json.ts'
import { integer, parameters } from '../http/parameters.ts'
import { wait } from '../work/wait.ts'
import type { Route } from './route.ts'

const mostQueries = 500

/** `GET /work/mix?wait=&cpu=&queries=`: queries, then a wait, then CPU time, the shape of a real service's request. */
export const workMix: Route = (api, { config, database, threads, clock, random }) => {
  const schema = z.strictObject({
    wait: integer(0, config.work.maxMs, 0),
    cpu: integer(0, config.work.maxMs, 0),
    queries: integer(0, mostQueries, 0),
  })
  api.get('/work/mix', { summary: '', answers: {} }, async (ctx) => {
    const asked = parameters(ctx, schema)
    const gone = cancellation(ctx)
    const start = clock.now()
    if (asked.queries > 0) await readRandomWorlds(requireDatabase(database), asked.queries, random)
    const queried = clock.now()
    await wait(asked.wait, gone, clock)
    const waited = clock.now()
    if (asked.cpu > 0) await threads.cpu(asked.cpu, gone)
    const end = clock.now()
    const tookMs = {
      queries: toMicrosecond(queried - start),
      wait: toMicrosecond(waited - queried),
      cpu: toMicrosecond(end - waited),
      all: toMicrosecond(end - start),
    }
    answerJson(ctx, { ...asked, tookMs })
  })
}
