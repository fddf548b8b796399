import * as z from 'zod'
import { toMicrosecond } from '../../kit/units.ts'
import { requireDatabase } from '../db/database.ts'
import { readRandomWorlds } from '../db/worlds.ts'
import { databaseProblems, json, type Operation } from '../http/api.ts'
import { cancellation } from '../http/cancellation.ts'
import { answerJson } from '../http/json.ts'
import { integer, parameters } from '../http/parameters.ts'
import { wait } from '../work/wait.ts'
import type { Route } from './route.ts'
import { milliseconds } from './schemas.ts'

const mostQueries = 500

/** `GET /work/mix?wait=&cpu=&queries=`: queries, then a wait, then CPU time, the shape of a real service's request. */
export const workMix: Route = (api, { config, database, threads, clock, random }) => {
  const query = z.strictObject({
    wait: integer(0, config.work.maxMs, 0),
    cpu: integer(0, config.work.maxMs, 0),
    queries: integer(0, mostQueries, 0),
  })
  const operation: Operation = {
    summary: 'Query, then wait, then use CPU time',
    description: 'The shape of a real request: rows from the database, a wait of `wait` ms, `cpu` ms in a thread.',
    query,
    answers: json('After all three.', mixed),
    problems: [...databaseProblems, 'threads-busy', 'draining'],
  }
  api.get('/work/mix', operation, async (ctx) => {
    const asked = parameters(ctx, query)
    ctx.requestedMs = asked.wait + asked.cpu
    const cancel = cancellation(ctx)
    const start = clock.now()
    if (asked.queries > 0) await readRandomWorlds(requireDatabase(database), asked.queries, random, cancel)
    const queried = clock.now()
    await wait(asked.wait, cancel, clock)
    const waited = clock.now()
    if (asked.cpu > 0) await threads.cpu(asked.cpu, cancel)
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

const mixed = (): z.ZodType =>
  z.strictObject({
    wait: z.int().min(0).describe('The wait that was asked for, in ms.'),
    cpu: z.int().min(0).describe('The CPU time that was asked for, in ms.'),
    queries: z.int().min(0).describe('How many statements were run, each for one row.'),
    tookMs: z.strictObject({
      queries: milliseconds('The statements, in ms.'),
      wait: milliseconds('The wait, in ms.'),
      cpu: milliseconds('The CPU work with its time in the queue, in ms.'),
      all: milliseconds('All together, in ms.'),
    }),
  })
