import { v7 as uuidv7 } from 'uuid'
import * as z from 'zod'
import type { ProblemCode } from '../../contract/problems.ts'
import type { Cancellation } from '../../kit/cancellation.ts'
import { Failure, InputError } from '../../kit/errors.ts'
import { cacheStatus } from '../cache/cache-status.ts'
import type { ServiceCache } from '../service-cache.ts'
import { requireDatabase } from '../db/database.ts'
import { idempotently, type IdempotentRequest } from '../db/idempotent.ts'
import type { Session } from '../db/pool.ts'
import { createItem } from '../db/queries/create-item.ts'
import { deleteItem } from '../db/queries/delete-item.ts'
import type { Item } from '../db/queries/item.ts'
import { listItems, newest } from '../db/queries/list-items.ts'
import { readItem } from '../db/queries/read-item.ts'
import { updateItem } from '../db/queries/update-item.ts'
import { databaseProblems, type Operation } from '../http/api.ts'
import { readJson } from '../http/body.ts'
import { cancellation } from '../http/cancellation.ts'
import { listsTag } from '../http/entity-tag.ts'
import { answerJson } from '../http/json.ts'
import type { ServiceContext } from '../http/lean-koa.ts'
import { documented, idPath, integer, listedId, parameters, pathId } from '../http/parameters.ts'
import { rawHeader } from '../http/raw-header.ts'
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
  before: listedId(uuid, newest),
})

/**
 * `/items`: a small resource with what a real one needs. Pages are keyset pages, newest first, with a `Link` to the
 * next (RFC 8288). Changes name the version they mean (`ETag`, `If-Match`, RFC 9110). A POST with an `Idempotency-Key`
 * has its effect once. Reads of one item go through the cache; changes do not, and tell it.
 */
export const items: Route = (api, { config, database, cache }) => {
  const { maxBodyBytes } = config.http

  api.get('/items', listing, async (ctx) => {
    const { limit, before } = parameters(ctx, pageQuery)
    const page = await requireDatabase(database).run(listItems, [before, limit], cancellation(ctx))
    const next = `</items?limit=${limit}&before=${page.at(-1)?.id}>; rel="next"`
    answerJson(ctx, { items: page }, { headers: page.length === limit ? ['Link', next] : [] })
  })

  api.post('/items', creation, async (ctx) => {
    const db = requireDatabase(database)
    const request = await readJson(ctx, itemBody, maxBodyBytes)
    const { name, note, quantity } = request.data
    const cancel = cancellation(ctx)
    const create = async (session: Session): Promise<string> => {
      const [item] = await session.run(createItem, [uuidv7(), name, note, quantity], cancel)
      return JSON.stringify(item)
    }
    const key = await idempotencyKey(ctx, request.text)
    if (key === undefined) return answerCreated(ctx, await create(db))
    const { answer, replayed } = await idempotently(db, key, create, cancel)
    answerCreated(ctx, answer, replayed ? ['Idempotency-Replayed', 'true'] : [])
  })

  api.get('/items/:id', reading, async (ctx) => {
    const id = pathId(ctx, uuid)
    const db = requireDatabase(database)
    const load = async (cancel: Cancellation): Promise<Item | undefined> => (await db.run(readItem, [id], cancel))[0]
    const found = await cache.item(id, load, cancellation(ctx))
    if (found.value === undefined) throw notFound()
    const headers = ['ETag', tagOf(found.value), 'Cache-Status', cacheStatus(found)]
    const known = rawHeader(ctx.req, 'if-none-match')
    if (known !== undefined && listsTag(known, tagOf(found.value))) ctx.reply(304, 'application/json', '', headers)
    else answerJson(ctx, found.value, { headers })
  })

  api.put('/items/:id', change, async (ctx) => {
    const id = pathId(ctx, uuid)
    const version = requiredVersion(ctx)
    const { name, note, quantity } = (await readJson(ctx, itemBody, maxBodyBytes)).data
    const db = requireDatabase(database)
    const update = (): Promise<Item[]> => db.change(updateItem, [id, version, name, note, quantity], cancellation(ctx))
    const [item] = await changing(ctx, cache, id, update)
    if (item === undefined) throw await missed(db, id, cancellation(ctx))
    answerJson(ctx, item, { headers: ['ETag', tagOf(item)] })
  })

  api.delete('/items/:id', deletion, async (ctx) => {
    const id = pathId(ctx, uuid)
    const version = requiredVersion(ctx)
    const db = requireDatabase(database)
    const [deleted] = await changing(ctx, cache, id, () => db.change(deleteItem, [id, version], cancellation(ctx)))
    if (deleted === undefined) throw await missed(db, id, cancellation(ctx))
    ctx.status = 204
  })
}

/**
 * Makes a change to an item, and tells the caches of it before it is answered. It is not begun for a request that is
 * over; one that is over meanwhile is told to the caches only when the server has carried the change out or cancelled it.
 * One that fails may have been done, too, where only its answer was lost.
 */
const changing = async <Row>(
  ctx: ServiceContext,
  cache: ServiceCache,
  id: string,
  change: () => Promise<Row[]>,
): Promise<Row[]> => {
  cancellation(ctx).throwIfAborted()
  let done = true
  try {
    const rows = await change()
    done = rows.length > 0
    return rows
  } finally {
    if (done) await cache.itemChanged(id)
  }
}

const tagOf = ({ version }: Item): string => `"${version}"`

const answerCreated = (ctx: ServiceContext, answer: string, headers: readonly string[] = []): void => {
  const item = JSON.parse(answer) as Item
  ctx.reply(201, 'application/json', answer, ['Location', `/items/${item.id}`, 'ETag', tagOf(item), ...headers])
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

// Compared as texts (RFC 9110, 8.8.3.2), "03" is another tag than "3".
const etagShape = /^"(0|[1-9]\d{0,8})"$/

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
const missed = async (session: Session, id: string, cancel: Cancellation): Promise<Failure<ProblemCode>> => {
  const [item] = await session.run(readItem, [id], cancel)
  if (item === undefined) return notFound()
  return new Failure('precondition-failed', { detail: `the item is at version ${tagOf(item)}` })
}

const notFound = (): Failure<ProblemCode> => new Failure('not-found', { detail: 'no item has this id' })

// What the API document says of them

const itemSchema = (): z.ZodType =>
  z
    .strictObject({
      id: z.uuid().describe('Version 7: in the order of creation.'),
      name: z.string().min(1).max(200),
      note: z.string().max(2_000),
      quantity: z.int().min(0).max(2_147_483_647),
      version: z.int().min(1).describe('Counts the changes; the `ETag` is this in quotes.'),
      createdAt: z.iso.datetime().describe('UTC, to the microsecond.'),
      updatedAt: z.iso.datetime().describe('UTC, to the microsecond.'),
    })
    .meta({ title: 'Item' })

const itemContent = { 'application/json': itemSchema }
const itemInput = { 'application/json': () => itemBody.meta({ title: 'ItemInput' }) }

const etag = 'The version, for `If-Match` and `If-None-Match`.'
const cached =
  'RFC 9211: `plimsoll; hit` with the seconds that it stays fresh, negative while it is renewed; `fwd=miss`, with ' +
  '`collapsed` where another request had asked already; `fwd=bypass` while nothing is kept.'

const textOf = (description: string, pattern?: string): z.ZodType => {
  const schema = { type: 'string', ...(pattern !== undefined && { pattern }) }
  return z.string().optional().describe(description).register(documented, { schema })
}

const ifMatch = () =>
  z.strictObject({
    'If-Match': textOf(
      'The version that is meant, as its `ETag`, or `*` for any. Needed.',
      '^("(0|[1-9]\\d{0,8})"|\\*)$',
    ),
  })
const ifNoneMatch = () => z.strictObject({ 'If-None-Match': textOf('Versions that the client has.') })

const listing: Operation = {
  summary: 'List items, newest first',
  description: 'A page at a time, at the same cost however deep. Follow the `Link` header to the next.',
  query: pageQuery,
  answers: {
    200: {
      description: 'A page.',
      content: { 'application/json': () => z.strictObject({ items: z.array(itemSchema()) }) },
      headers: { Link: 'The next page, `rel="next"` (RFC 8288); absent on the last one.' },
    },
  },
  problems: databaseProblems,
}

const creation: Operation = {
  summary: 'Create an item',
  description:
    'With an `Idempotency-Key` it is created once, however often the request is repeated within 24 hours: every ' +
    'repetition is given the first answer.',
  headers: () =>
    z.strictObject({
      'Idempotency-Key': textOf('Chosen by the client, one for each item that it wants.', '^[\\x21-\\x7e]{1,255}$'),
    }),
  body: itemInput,
  answers: {
    201: {
      description: 'Created, now or by the first request with the key.',
      content: itemContent,
      headers: {
        Location: 'Where it is.',
        ETag: etag,
        'Idempotency-Replayed': '`true` for the answer of an earlier one.',
      },
    },
  },
  problems: [...databaseProblems, 'idempotency-key-reused'],
}

const reading: Operation = {
  summary: 'Read an item, through the cache',
  description:
    'From memory for `CACHE_TTL_MS`. A change by this replica is seen at once, one by another as soon as it is told, ' +
    'within milliseconds.',
  path: idPath,
  headers: ifNoneMatch,
  answers: {
    200: { description: 'The item.', content: itemContent, headers: { ETag: etag, 'Cache-Status': cached } },
    304: { description: 'The client has this version.', headers: { ETag: etag, 'Cache-Status': cached } },
  },
  problems: [...databaseProblems, 'not-found'],
}

const change: Operation = {
  summary: 'Replace an item',
  description: 'Only the version that the client has seen: of several changes at once, one is made.',
  path: idPath,
  headers: ifMatch,
  body: itemInput,
  answers: { 200: { description: 'The item as it is now.', content: itemContent, headers: { ETag: etag } } },
  problems: [...databaseProblems, 'not-found', 'precondition-failed', 'precondition-required'],
}

const deletion: Operation = {
  summary: 'Delete an item',
  path: idPath,
  headers: ifMatch,
  answers: { 204: { description: 'It is gone.' } },
  problems: [...databaseProblems, 'not-found', 'precondition-failed', 'precondition-required'],
}
