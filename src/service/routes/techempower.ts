import { parse } from 'node:querystring'
import * as z from 'zod'
import type { Cancellation } from '../../kit/cancellation.ts'
import { cacheStatus } from '../cache/cache-status.ts'
import type { Loaded } from '../cache/cache.ts'
import { type Database, requireDatabase } from '../db/database.ts'
import { readCachedWorlds } from '../db/queries/read-cached-worlds.ts'
import { readFortunes } from '../db/queries/read-fortunes.ts'
import { readWorld, type World } from '../db/queries/read-world.ts'
import { randomWorldNumber, readRandomWorlds, updateRandomWorlds } from '../db/worlds.ts'
import { databaseProblems, json, type Operation } from '../http/api.ts'
import { cancellation } from '../http/cancellation.ts'
import { fortunesPage } from '../http/fortunes-page.ts'
import { answerJson } from '../http/json.ts'
import type { ServiceContext } from '../http/lean-koa.ts'
import { documented, queryOf } from '../http/parameters.ts'
import type { Route } from './route.ts'

const greeting = 'Hello, World!'
const mostQueries = 500

/**
 * The tests of the TechEmpower Framework Benchmarks, after its rules: the count clamped to 1..500 and never an error,
 * a statement for each row read, updates of rows that were read, fortunes with a row of the request's own, sorted and
 * escaped. https://github.com/TechEmpower/FrameworkBenchmarks/wiki/Project-Information-Framework-Tests-Overview
 */
export const techempower: Route = (api, { database, cache, random }) => {
  api.get('/plaintext', plaintext, (ctx) => ctx.reply(200, 'text/plain', greeting))

  api.get('/json', greetingAsJson, (ctx) => answerJson(ctx, { message: greeting }))

  api.get('/db', oneRow, async (ctx) => {
    const [world] = await requireDatabase(database).run(readWorld, [randomWorldNumber(random)], cancellation(ctx))
    answerJson(ctx, world)
  })

  api.get('/queries', rows, async (ctx) => {
    const db = requireDatabase(database)
    answerJson(ctx, await readRandomWorlds(db, clampedCount(ctx, 'queries'), random, cancellation(ctx)))
  })

  api.get('/updates', updates, async (ctx) => {
    const db = requireDatabase(database)
    answerJson(ctx, await updateRandomWorlds(db, clampedCount(ctx, 'queries'), random, cancellation(ctx)))
  })

  api.get('/fortunes', fortunes, async (ctx) => {
    const found = await requireDatabase(database).run(readFortunes, [], cancellation(ctx))
    ctx.reply(200, 'text/html; charset=utf-8', fortunesPage(found))
  })

  const load = (ids: readonly number[], cancel: Cancellation): Promise<readonly Loaded<number, World>[]> =>
    loadCachedWorlds(requireDatabase(database), ids, cancel)
  api.get('/cached-queries', cachedRows, async (ctx) => {
    const ids = Array.from({ length: clampedCount(ctx, 'count') }, () => randomWorldNumber(random))
    const found = await cache.worlds(ids, load, cancellation(ctx))
    answerJson(ctx, found.value, { headers: ['Cache-Status', cacheStatus(found)] })
  })
}

const loadCachedWorlds = async (
  database: Database,
  ids: readonly number[],
  cancel: Cancellation,
): Promise<readonly Loaded<number, World>[]> => {
  const found = await database.run(readCachedWorlds, [`{${ids.join()}}`], cancel)
  if (found.length < ids.length) throw new Error('table cached_world is not complete')
  return found.map((world) => ({ key: world.id, value: world }))
}

const clampedCount = ({ req }: ServiceContext, name: string): number => {
  const given = parse(queryOf(req.url!))[name]
  const count = typeof given === 'string' && /^\d+$/.test(given) ? Number(given) : 1
  return Math.min(Math.max(count, 1), mostQueries)
}

// What the API document says of them

const tag = 'techempower'

const countSchema = { type: 'integer', minimum: 1, maximum: mostQueries, default: 1 }
const count = z.string().optional().register(documented, { schema: countSchema })
const careless = 'Query parameters are ignored.'
const clamped =
  'A count that is out of bounds is taken for the nearest bound, one that is no number for 1; other parameters are ignored.'

const world = (): z.ZodType =>
  z
    .strictObject({
      id: z.int().min(1).max(10_000),
      randomNumber: z.int().min(1).max(10_000),
    })
    .meta({ title: 'World' })

const worlds = (): z.ZodType => z.array(world()).min(1).max(mostQueries)

const plaintext: Operation = {
  summary: 'Greet as text',
  description: careless,
  tag,
  instant: true,
  answers: { 200: { description: 'The greeting.', content: { 'text/plain': () => z.literal(greeting) } } },
}

const greetingAsJson: Operation = {
  summary: 'Greet as JSON',
  description: careless,
  tag,
  instant: true,
  answers: json('The greeting.', () => z.strictObject({ message: z.literal(greeting) })),
}

const oneRow: Operation = {
  summary: 'Read one random row',
  description: careless,
  tag,
  answers: json('The row.', world),
  problems: databaseProblems,
}

const rows: Operation = {
  summary: 'Read random rows, with a statement each',
  description: clamped,
  tag,
  query: z.strictObject({ queries: count }),
  answers: json('The rows.', worlds),
  problems: databaseProblems,
}

const updates: Operation = {
  summary: 'Read random rows and give each another number',
  description: clamped,
  tag,
  query: z.strictObject({ queries: count }),
  answers: json('The rows as they are now stored.', worlds),
  problems: databaseProblems,
}

const fortunes: Operation = {
  summary: 'Show all fortunes and one more, sorted',
  description: careless,
  tag,
  answers: { 200: { description: 'The page.', content: { 'text/html; charset=utf-8': () => z.string() } } },
  problems: databaseProblems,
}

const cachedRows: Operation = {
  summary: 'Read random rows through the cache',
  description: `Those that are not in memory are read with one statement. They never change. ${clamped}`,
  tag,
  query: z.strictObject({ count }),
  answers: {
    200: {
      description: 'The rows.',
      content: { 'application/json': worlds },
      headers: {
        'Cache-Status': 'RFC 9211: `plimsoll; hit`, `fwd=partial`, `fwd=miss`, or `fwd=bypass` while nothing is kept.',
      },
    },
  },
  problems: databaseProblems,
}
