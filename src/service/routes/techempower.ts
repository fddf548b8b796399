import { parse } from 'node:querystring'
import { LRUCache } from 'lru-cache'
import { requireDatabase } from '../db/database.ts'
import { readAllWorlds } from '../db/queries/read-all-worlds.ts'
import { readFortunes } from '../db/queries/read-fortunes.ts'
import { readWorld, type World } from '../db/queries/read-world.ts'
import { randomWorldNumber, readRandomWorlds, updateRandomWorlds, worldRows } from '../db/worlds.ts'
import { fortunesPage } from '../http/fortunes-page.ts'
import { answerJson } from '../http/json.ts'
import type { ServiceContext } from '../http/lean-koa.ts'
import { queryOf } from '../http/parameters.ts'
import type { Route, RouteDeps } from './route.ts'

const greeting = 'Hello, World!'
const mostQueries = 500

/**
 * The tests of the TechEmpower Framework Benchmarks, after its rules: the count clamped to 1..500 and never an error,
 * a statement for each row read, updates of rows that were read, fortunes with a row of the request's own, sorted and
 * escaped. https://github.com/TechEmpower/FrameworkBenchmarks/wiki/Project-Information-Framework-Tests-Overview
 */
export const techempower: Route = (api, { database, random }) => {
  api.get('/plaintext', { summary: '', answers: {} }, (ctx) => ctx.reply(200, 'text/plain', greeting))

  api.get('/json', { summary: '', answers: {} }, (ctx) => answerJson(ctx, { message: greeting }))

  api.get('/db', { summary: '', answers: {} }, async (ctx) => {
    const [world] = await requireDatabase(database).run(readWorld, [randomWorldNumber(random)])
    answerJson(ctx, world)
  })

  api.get('/queries', { summary: '', answers: {} }, async (ctx) => {
    answerJson(ctx, await readRandomWorlds(requireDatabase(database), clampedCount(ctx, 'queries'), random))
  })

  api.get('/updates', { summary: '', answers: {} }, async (ctx) => {
    answerJson(ctx, await updateRandomWorlds(requireDatabase(database), clampedCount(ctx, 'queries'), random))
  })

  api.get('/fortunes', { summary: '', answers: {} }, async (ctx) => {
    const fortunes = await requireDatabase(database).run(readFortunes, [])
    ctx.reply(200, 'text/html; charset=utf-8', fortunesPage(fortunes))
  })

  const cachedWorlds = worldCache(database)
  api.get('/cached-queries', { summary: '', answers: {} }, async (ctx) => {
    const count = clampedCount(ctx, 'count')
    const ids = Array.from({ length: count }, () => randomWorldNumber(random))
    answerJson(ctx, await cachedWorlds(ids))
  })
}

/** Rows of `world` from memory, filled from the database at the first use. */
const worldCache = (database: RouteDeps['database']): ((ids: readonly number[]) => Promise<World[]>) => {
  const cache = new LRUCache<number, World>({ max: worldRows })
  let filling: Promise<void> | undefined
  const fill = async (): Promise<void> => {
    for (const world of await requireDatabase(database).run(readAllWorlds, [])) cache.set(world.id, world)
  }
  return async (ids) => {
    if (cache.size < worldRows) {
      filling ??= fill().finally(() => {
        filling = undefined
      })
      await filling
    }
    return ids.map((id) => cache.get(id)!)
  }
}

const clampedCount = ({ req }: ServiceContext, name: string): number => {
  const given = parse(queryOf(req.url!))[name]
  const count = typeof given === 'string' && /^\d+$/.test(given) ? Number(given) : 1
  return Math.min(Math.max(count, 1), mostQueries)
}
