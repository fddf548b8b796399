/**
 * Peer: koa, @koa/router and a `pg` pool of eight with named statements, written as their manuals write them. It has
 * as many routes as a small real service, because the router tests them in order.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import Router, { type RouterMiddleware } from '@koa/router'
import Koa from 'koa'
import { Pool } from 'pg'

type World = { id: number; randomnumber: number }

const pool = new Pool({ connectionString: process.env['DATABASE_URL'], max: 8 })
const worldRows = 10_000
const randomInteger = () => 1 + Math.floor(Math.random() * worldRows)

const selectWorld = async (id: number) => {
  const result = await pool.query<World>({
    name: 'select-world',
    text: 'SELECT id, randomnumber FROM world WHERE id = $1',
    values: [id],
  })
  return result.rows[0]!
}

const randomWorlds = (count: number) => Promise.all(Array.from({ length: count }, () => selectWorld(randomInteger())))

const updateWorlds = (worlds: readonly World[]) =>
  pool.query({
    name: 'update-worlds',
    text: `UPDATE world SET randomnumber = new.randomnumber
           FROM unnest($1::int[], $2::int[]) AS new (id, randomnumber) WHERE world.id = new.id`,
    values: [worlds.map(({ id }) => id), worlds.map(({ randomnumber }) => randomnumber)],
  })

const selectItems = async (limit: number) => {
  const result = await pool.query({
    name: 'select-items',
    text: `SELECT id, name, note, quantity, version, created_at AS "createdAt", updated_at AS "updatedAt"
           FROM items ORDER BY id DESC LIMIT $1`,
    values: [limit],
  })
  return result.rows
}

const toJson = ({ id, randomnumber }: World) => ({ id, randomNumber: randomnumber })

const clampCount = (value: unknown) => Math.min(500, Math.max(1, Number(value) || 1))

const notHere: RouterMiddleware = (ctx) => {
  ctx.status = 501
}

const router = new Router()
router.get('/', notHere)
router.get('/work/gather', notHere)
router.get('/work/cpu', notHere)
router.get('/work/block', notHere)
router.get('/work/thread', notHere)
router.get('/work/mix', notHere)
router.get('/work/memory', notHere)
router.get('/work/wait', async (ctx) => {
  const ms = Number(ctx.query['ms'])
  await sleep(ms)
  ctx.body = { ms }
})
router.get('/items', async (ctx) => {
  ctx.body = { items: await selectItems(Number(ctx.query['limit'])) }
})
router.post('/items', notHere)
router.get('/items/:id', notHere)
router.put('/items/:id', notHere)
router.delete('/items/:id', notHere)
router.get('/plaintext', (ctx) => {
  ctx.body = 'Hello, World!'
})
router.get('/json', (ctx) => {
  ctx.body = { message: 'Hello, World!' }
})
router.get('/db', async (ctx) => {
  ctx.body = toJson(await selectWorld(randomInteger()))
})
router.get('/queries', async (ctx) => {
  const worlds = await randomWorlds(clampCount(ctx.query['queries']))
  ctx.body = worlds.map(toJson)
})
router.get('/updates', async (ctx) => {
  const worlds = await randomWorlds(clampCount(ctx.query['queries']))
  worlds.sort((left, right) => left.id - right.id) // one lock order for everyone: no deadlocks
  for (const world of worlds) world.randomnumber = randomInteger()
  await updateWorlds(worlds)
  ctx.body = worlds.map(toJson)
})
router.get('/fortunes', notHere)
router.get('/cached-queries', notHere)

const app = new Koa()
app.use(router.routes())
app.use(router.allowedMethods())
app.listen(Number(process.env['PORT']), process.env['HOST'])
