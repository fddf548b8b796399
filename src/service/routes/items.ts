import { v7 as uuidv7, validate as isUuid } from 'uuid'
import * as z from 'zod'
import type { ProblemCode } from '../../contract/problems.ts'
import { Failure, InputError } from '../../kit/errors.ts'
import { requireDatabase } from '../db/database.ts'
import { idempotently, type IdempotentRequest } from '../db/idempotent.ts'
import type { Session } from '../db/pool.ts'
import { createItem } from '../db/queries/create-item.ts'
import { deleteItem } from '../db/queries/delete-item.ts'
import type { Item } from '../db/queries/item.ts'
import { listItems, newest } from '../db/queries/list-items.ts'
import { readItem } from '../db/queries/read-item.ts'
import { updateItem } from '../db/queries/update-item.ts'
import { readJson } from '../http/body.ts'
import { answerJson } from '../http/json.ts'
import type { ServiceContext } from '../http/lean-koa.ts'
import { integer, parameters } from '../http/parameters.ts'
import type { Route } from './route.ts'

// PostgreSQL stores no U+0000, and a lone surrogate has no form in UTF-8.
const isStorable = (given: string): boolean => given.isWellFormed() && !given.includes('\0')

const text = (min: number, max: number): z.ZodType<string> => {
  const accepted = `a text of ${min} to ${max} characters without U+0000 and lone surrogates`
  return z.string(accepted).min(min, accepted).max(max, accepted).refine(isStorable, accepted)
}

const name = text(1, 200)
const note = text(0, 2_000)
const quantityRange = 'a whole number from 0 to 2147483647'
const quantity = z.int(quantityRange).min(0, quantityRange).max(2_147_483_647, quantityRange)
const itemBody = z.strictObject({ name, note: note.default(''), quantity: quantity.default(0) })

const uuid = 'a UUID, as in an item\'s "id"'
const pageQuery = z.strictObject({
  limit: integer(1, 500, 20),
  before: z.string(uuid).refine(isUuid, uuid).default(newest),
})

/**
 * `/items`: a small resource with what a real one needs. Pages are keyset pages, newest first, with a `Link` to the
 * next (RFC 8288). Changes name the version they mean (`ETag`, `If-Match`, RFC 9110). A POST with an `Idempotency-Key`
 * has its effect once.
 */
export const items: Route = (api, { config, database }) => {
  const { maxBodyBytes } = config.http

  api.get('/items', { summary: '', answers: {} }, async (ctx) => {
    const { limit, before } = parameters(ctx, pageQuery)
    const page = await requireDatabase(database).run(listItems, [before, limit])
    const next = `</items?limit=${limit}&before=${page.at(-1)?.id}>; rel="next"`
    answerJson(ctx, { items: page }, { headers: page.length === limit ? ['Link', next] : [] })
  })

  api.post('/items', { summary: '', answers: {} }, async (ctx) => {
    const db = requireDatabase(database)
    const request = await readJson(ctx, itemBody, maxBodyBytes)
    const { name, note, quantity } = request.data
    const create = async (session: Session): Promise<string> => {
      const [item] = await session.run(createItem, [uuidv7(), name, note, quantity])
      return JSON.stringify(item)
    }
    const key = await idempotencyKey(ctx, request.text)
    if (key === undefined) return answerCreated(ctx, await create(db))
    const { answer, replayed } = await idempotently(db, key, create)
    if (replayed) ctx.set('Idempotency-Replayed', 'true')
    answerCreated(ctx, answer)
  })

  api.get('/items/:id', { summary: '', answers: {} }, async (ctx) => {
    const id = itemId(ctx)
    const [item] = await requireDatabase(database).run(readItem, [id])
    if (item === undefined) throw notFound()
    answerItem(ctx, item)
  })

  api.put('/items/:id', { summary: '', answers: {} }, async (ctx) => {
    const id = itemId(ctx)
    const version = requiredVersion(ctx)
    const { name, note, quantity } = (await readJson(ctx, itemBody, maxBodyBytes)).data
    const db = requireDatabase(database)
    const [item] = await db.run(updateItem, [id, version, name, note, quantity])
    if (item === undefined) throw await missed(db, id)
    answerItem(ctx, item)
  })

  api.delete('/items/:id', { summary: '', answers: {} }, async (ctx) => {
    const id = itemId(ctx)
    const version = requiredVersion(ctx)
    const db = requireDatabase(database)
    const [deleted] = await db.run(deleteItem, [id, version])
    if (deleted === undefined) throw await missed(db, id)
    ctx.status = 204
  })
}

const answerItem = (ctx: ServiceContext, item: Item): void => {
  const tag = `"${item.version}"`
  ctx.set('ETag', tag)
  if (ctx.method !== 'PUT' && listsTag(ctx.get('If-None-Match'), tag)) ctx.status = 304
  else answerJson(ctx, item)
}

/**
 * Whether an If-None-Match names the tag, by weak comparison (RFC 9110, 13.1.2). Koa's `ctx.fresh` would not do: it takes
 * the `Cache-Control: no-cache` that every `fetch` adds to such a request for a wish to be sent all of it again.
 */
const listsTag = (given: string, tag: string): boolean =>
  given.split(',').some((listed) => ['*', tag, `W/${tag}`].includes(listed.trim()))

const answerCreated = (ctx: ServiceContext, answer: string): void => {
  const { id, version } = JSON.parse(answer) as Item
  ctx.set('Location', `/items/${id}`)
  ctx.set('ETag', `"${version}"`)
  ctx.reply(201, 'application/json', answer)
}

const itemId = (ctx: ServiceContext): string => {
  const id = ctx.params['id']
  if (!isUuid(id)) throw new InputError([{ field: 'id', value: id, accepted: uuid }])
  return id!
}

const keyShape = /^[\x21-\x7e]{1,255}$/

const idempotencyKey = async (ctx: ServiceContext, body: string): Promise<IdempotentRequest | undefined> => {
  const key = ctx.req.headers['idempotency-key']
  if (key === undefined) return undefined
  if (typeof key !== 'string' || !keyShape.test(key)) {
    throw new InputError([{ field: 'Idempotency-Key', value: key, accepted: '1 to 255 visible ASCII characters' }])
  }
  const request = new TextEncoder().encode(`${ctx.method} ${ctx.path}\n${body}`)
  return { key, fingerprint: Buffer.from(await crypto.subtle.digest('SHA-256', request)).toString('base64url') }
}

const etagShape = /^"(\d{1,9})"$/

/** The version that the client has seen; null for `*`, any version. */
const requiredVersion = (ctx: ServiceContext): number | null => {
  const given = ctx.req.headers['if-match']
  if (given === undefined) {
    throw new Failure<ProblemCode>('precondition-required', { detail: 'send If-Match with the ETag of the item, or *' })
  }
  if (given === '*') return null
  const version = etagShape.exec(given)?.[1]
  if (version === undefined) {
    throw new InputError([{ field: 'If-Match', value: given, accepted: 'one ETag of the item, such as "3", or *' }])
  }
  return Number(version)
}

/** Why a change met no row: the item is gone, or has another version. */
const missed = async (session: Session, id: string): Promise<Failure<ProblemCode>> => {
  const [item] = await session.run(readItem, [id])
  if (item === undefined) return notFound()
  return new Failure('precondition-failed', { detail: `the item is at version "${item.version}"` })
}

const notFound = (): Failure<ProblemCode> => new Failure('not-found', { detail: 'no item has this id' })
