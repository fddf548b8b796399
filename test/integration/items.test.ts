import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import pg from 'pg'
import { migrate } from '../../src/service/db/migrate.ts'
import { freshDatabase } from '../support/postgres.ts'
import { startTestService } from '../support/service.ts'
import { until } from '../support/until.ts'

const databaseUrl = await freshDatabase()
await migrate(databaseUrl)
const service = await startTestService({ DATABASE_URL: databaseUrl })
after(() => service[Symbol.asyncDispose]())
const limits = { timeout: 20_000 }

type Item = {
  readonly id: string
  readonly name: string
  readonly note: string
  readonly quantity: number
  readonly version: number
  readonly createdAt: string
  readonly updatedAt: string
}
type Problem = {
  readonly code: string
  readonly errors?: readonly { readonly field: string; readonly accepted: string }[]
}

type Answer<Body = unknown> = {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly body: Body
}

const send = async <Body>(
  method: string,
  path: string,
  { body, headers = {} }: { body?: unknown; headers?: Record<string, string> } = {},
): Promise<Answer<Body>> => {
  const json = body === undefined ? {} : { 'Content-Type': 'application/json' }
  const sent = typeof body === 'string' ? body : JSON.stringify(body)
  const response = await fetch(`${service.url}${path}`, {
    method,
    headers: { ...json, ...headers },
    body: sent ?? null,
  })
  const text = await response.text()
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: (text === '' ? undefined : JSON.parse(text)) as Body,
  }
}

const create = async (body: unknown): Promise<Item> => {
  const answer = await send<Item>('POST', '/items', { body })
  assert.equal(answer.status, 201, answer.text)
  return answer.body
}

const assertProblem = (answer: Answer, status: number, code: string): Problem => {
  assert.equal(answer.status, status, answer.text)
  assert.equal(answer.headers.get('Content-Type'), 'application/problem+json')
  const problem = answer.body as Problem
  assert.equal(problem.code, code)
  return problem
}

const query = async <Row extends pg.QueryResultRow>(sql: string, values: unknown[] = []): Promise<Row[]> => {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    return (await client.query<Row>(sql, values)).rows
  } finally {
    await client.end()
  }
}

const countNamed = async (name: string): Promise<number> =>
  (await query<{ count: number }>('select count(*)::integer as count from items where name = $1', [name]))[0]!.count

const unknownId = '01900000-0000-7000-8000-000000000000'

test('a created item is answered with its place, its version and itself, and can be read there', limits, async () => {
  const created = await send<Item>('POST', '/items', {
    body: { name: 'anchor ⚓', note: 'it\'s "heavy"', quantity: 2 },
  })
  assert.equal(created.status, 201)
  assert.equal(created.headers.get('Location'), `/items/${created.body.id}`)
  assert.equal(created.headers.get('ETag'), '"1"')
  assert.equal(created.headers.get('Content-Type'), 'application/json')
  assert.equal(created.headers.get('Idempotency-Replayed'), null)
  const { id, createdAt, updatedAt, ...rest } = created.body
  assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  assert.deepEqual(rest, { name: 'anchor ⚓', note: 'it\'s "heavy"', quantity: 2, version: 1 })
  assert.match(createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$/)
  assert.ok(Math.abs(Date.parse(createdAt) - Date.now()) < 60_000)
  assert.equal(updatedAt, createdAt)
  const read = await send<Item>('GET', `/items/${id}`)
  assert.equal(read.status, 200)
  assert.equal(read.text, created.text)
  assert.equal(read.headers.get('ETag'), '"1"')
})

test('note and quantity may be left out', limits, async () => {
  const { note, quantity } = await create({ name: 'rope' })
  assert.deepEqual({ note, quantity }, { note: '', quantity: 0 })
})

test('values at their bounds are taken as they are', limits, async () => {
  const body = { name: '🚢'.repeat(100), note: 'é'.repeat(2_000), quantity: 2_147_483_647 }
  const { name, note, quantity } = await create(body)
  assert.deepEqual({ name, note, quantity }, body)
})

test('every mistake of a body is told at once, and nothing is created', limits, async () => {
  const answer = await send('POST', '/items', {
    body: { name: '', note: 'x'.repeat(2_001), quantity: -1, colour: 'red' },
  })
  const { errors } = assertProblem(answer, 400, 'invalid-request')
  assert.deepEqual(errors?.map(({ field }) => field).toSorted(), ['colour', 'name', 'note', 'quantity'])
  const wrongs: readonly (readonly [field: string, body: object])[] = [
    ['name', {}],
    ['name', { name: 5 }],
    ['name', { name: null }],
    ['name', { name: 'x'.repeat(201) }],
    ['name', { name: 'a\0b' }],
    ['name', { name: '\ud800' }],
    ['note', { name: 'wrong', note: '\0' }],
    ['note', { name: 'wrong', note: ['x'] }],
    ['quantity', { name: 'wrong', quantity: 1.5 }],
    ['quantity', { name: 'wrong', quantity: '1' }],
    ['quantity', { name: 'wrong', quantity: 2_147_483_648 }],
    ['quantity', { name: 'wrong', quantity: 1e300 }],
    ['id', { name: 'wrong', id: unknownId }],
  ]
  for (const [field, body] of wrongs) {
    for (const [method, path] of [
      ['POST', '/items'],
      ['PUT', `/items/${unknownId}`],
    ] as const) {
      const wrong = assertProblem(
        await send(method, path, { body, headers: { 'If-Match': '*' } }),
        400,
        'invalid-request',
      )
      assert.deepEqual(
        wrong.errors?.map((error) => error.field),
        [field],
        JSON.stringify(body),
      )
    }
  }
  assert.equal(await countNamed('wrong'), 0)
})

test('a body that is no JSON object, of another type or too large is refused by its own name', limits, async () => {
  for (const body of ['', '{', '[]', '"text"', 'null'])
    assertProblem(await send('POST', '/items', { body }), 400, 'malformed-request')
  const asText = { body: '{"name":"x"}', headers: { 'Content-Type': 'text/plain' } }
  assertProblem(await send('POST', '/items', asText), 415, 'unsupported-media-type')
  assertProblem(
    await send('POST', '/items', { body: { name: 'x', note: 'x'.repeat(1_048_576) } }),
    413,
    'body-too-large',
  )
})

test('an id that is no UUID is a mistake, one that nothing has is not found', limits, async () => {
  const any = { 'If-Match': '*' }
  const body = { name: 'x' }
  for (const id of ['1', 'none', `${unknownId}x`, unknownId.replaceAll('-', ''), "'%20or%201=1"]) {
    for (const [method, options] of [
      ['GET', {}],
      ['PUT', { body, headers: any }],
      ['DELETE', { headers: any }],
    ] as const) {
      const { errors } = assertProblem(await send(method, `/items/${id}`, options), 400, 'invalid-request')
      assert.deepEqual(
        errors?.map(({ field }) => field),
        ['id'],
      )
    }
  }
  assertProblem(await send('GET', `/items/${unknownId}`), 404, 'not-found')
  assertProblem(await send('PUT', `/items/${unknownId}`, { body, headers: any }), 404, 'not-found')
  assertProblem(await send('DELETE', `/items/${unknownId}`, { headers: any }), 404, 'not-found')
})

test(
  'a change names the version it means: missing 428, other 412, mistaken 400, the same or * done',
  limits,
  async () => {
    const { id, createdAt } = await create({ name: 'chart', quantity: 1 })
    const path = `/items/${id}`
    const put = (match: string | undefined, name: string): Promise<Answer<Item>> =>
      send('PUT', path, { body: { name, quantity: 5 }, headers: match === undefined ? {} : { 'If-Match': match } })

    assertProblem(await put(undefined, 'lost'), 428, 'precondition-required')
    assertProblem(await put('"2"', 'lost'), 412, 'precondition-failed')
    for (const match of ['1', '"x"', 'W/"1"', '"1", "2"', '"-1"', '"01"', '"99999999999"']) {
      const { errors } = assertProblem(await put(match, 'lost'), 400, 'invalid-request')
      assert.deepEqual(
        errors?.map(({ field }) => field),
        ['If-Match'],
      )
    }
    const changed = await put('"1"', 'second')
    assert.equal(changed.status, 200)
    assert.equal(changed.headers.get('ETag'), '"2"')
    const { name, note, quantity, version } = changed.body
    assert.deepEqual({ name, note, quantity, version }, { name: 'second', note: '', quantity: 5, version: 2 })
    assert.equal(changed.body.createdAt, createdAt)
    assert.ok(changed.body.updatedAt > createdAt)
    assertProblem(await put('"1"', 'lost'), 412, 'precondition-failed')
    assert.equal((await put('*', 'third')).headers.get('ETag'), '"3"')
    assert.equal((await send<Item>('GET', path)).body.name, 'third')
  },
)

test('of many concurrent changes of one version exactly one is done', limits, async () => {
  const { id } = await create({ name: 'contested' })
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      send<Item>('PUT', `/items/${id}`, { body: { name: `winner ${i}` }, headers: { 'If-Match': '"1"' } }),
    ),
  )
  const done = answers.filter(({ status }) => status === 200)
  assert.equal(done.length, 1)
  for (const answer of answers) if (answer !== done[0]) assertProblem(answer, 412, 'precondition-failed')
  assert.equal((await send<Item>('GET', `/items/${id}`)).text, done[0]!.text)
})

test('a read of the version that the client has is answered 304 without a body', limits, async () => {
  const { id } = await create({ name: 'cached' })
  const read = (have: string): Promise<Answer> => send('GET', `/items/${id}`, { headers: { 'If-None-Match': have } })
  for (const have of ['"1"', 'W/"1"', '"7", "1"', '*']) {
    const answer = await read(have)
    assert.equal(answer.status, 304, have)
    assert.equal(answer.text, '')
    assert.equal(answer.headers.get('ETag'), '"1"')
  }
  assert.equal((await read('"2"')).status, 200)
  const put = { body: { name: 'cached' }, headers: { 'If-Match': '"1"', 'If-None-Match': '"2"' } }
  assert.equal((await send('PUT', `/items/${id}`, put)).status, 200)
  assert.equal((await read('"1"')).status, 200)
})

test('a delete names its version too, and what is deleted is gone', limits, async () => {
  const { id } = await create({ name: 'old' })
  const path = `/items/${id}`
  assertProblem(await send('DELETE', path), 428, 'precondition-required')
  assertProblem(await send('DELETE', path, { headers: { 'If-Match': '"2"' } }), 412, 'precondition-failed')
  const deleted = await send('DELETE', path, { headers: { 'If-Match': '"1"' } })
  assert.deepEqual([deleted.status, deleted.text], [204, ''])
  assertProblem(await send('GET', path), 404, 'not-found')
  assertProblem(await send('DELETE', path, { headers: { 'If-Match': '*' } }), 404, 'not-found')
})

// Pages

type Page = { readonly items: readonly Item[] }

const nextOf = (headers: Headers): string | undefined => /^<([^>]+)>; rel="next"$/.exec(headers.get('Link') ?? '')?.[1]

const idsOf = (pages: readonly Item[][]): string[] => pages.flat().map(({ id }) => id)

/** Follows `Link` from a page to the end. */
const readAll = async (first: string, between: () => Promise<unknown> = async () => {}): Promise<Item[][]> => {
  const pages: Item[][] = []
  for (let path: string | undefined = first; path !== undefined;) {
    const { status, body, headers }: Answer<Page> = await send('GET', path)
    assert.equal(status, 200)
    pages.push([...body.items])
    assert.ok(pages.length < 100, 'pages without an end')
    path = nextOf(headers)
    await between()
  }
  return pages
}

test(
  'pages followed by their Link give every item once, newest first, also while others are created',
  limits,
  async () => {
    await query('delete from items')
    const ids: string[] = []
    for (let i = 0; i < 23; i++) ids.push((await create({ name: `item ${i}` })).id)
    const newestFirst = ids.toReversed()

    for (const limit of [1, 5, 22, 23, 24, 500]) {
      const pages = await readAll(`/items?limit=${limit}`)
      assert.deepEqual(idsOf(pages), newestFirst)
      assert.ok(pages.every((page) => page.length <= limit))
    }
    assert.deepEqual(idsOf(await readAll('/items?limit=4', () => create({ name: 'meanwhile' }))), newestFirst)
    const oneByDefault = await send<Page>('GET', '/items')
    assert.equal(oneByDefault.body.items.length, 20)
  },
)

test('a page within the last one has no Link', limits, async () => {
  await query('delete from items')
  assert.deepEqual(await readAll('/items'), [[]])
  await create({ name: 'alone' })
  const { headers, body } = await send<Page>('GET', '/items?limit=2')
  assert.equal(headers.get('Link'), null)
  assert.equal(body.items.length, 1)
})

test('wrong page parameters are told at once', limits, async () => {
  const answer = await send('GET', '/items?limit=501&before=5&after=1')
  const { errors } = assertProblem(answer, 400, 'invalid-request')
  assert.deepEqual(errors?.map(({ field }) => field).toSorted(), ['after', 'before', 'limit'])
  for (const wrong of ['limit=0', 'limit=-1', 'limit=1e2', 'limit=', 'limit=1&limit=2', 'before=']) {
    assertProblem(await send('GET', `/items?${wrong}`), 400, 'invalid-request')
  }
})

// Idempotency-Key

const post = (key: string, body: unknown): Promise<Answer<Item>> =>
  send('POST', '/items', { body, headers: { 'Idempotency-Key': key } })

test('five concurrent requests with one key have one effect and one answer', limits, async () => {
  for (let round = 0; round < 5; round++) {
    const name = `once ${round}`
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => post(`concurrent-${round}`, { name, quantity: 1 })),
    )
    assert.equal(new Set(answers.map(({ text }) => text)).size, 1)
    for (const { status, headers, body } of answers) {
      assert.equal(status, 201)
      assert.equal(headers.get('Location'), `/items/${body.id}`)
      assert.equal(headers.get('ETag'), '"1"')
      assert.equal(body.name, name)
    }
    assert.equal(answers.filter(({ headers }) => headers.get('Idempotency-Replayed') === 'true').length, 4)
    assert.equal(await countNamed(name), 1)
  }
})

test('the answer of a key stays the first one, whatever becomes of the item', limits, async () => {
  const first = await post('lasting', { name: 'lasting' })
  await send('PUT', `/items/${first.body.id}`, { body: { name: 'changed' }, headers: { 'If-Match': '*' } })
  const again = await post('lasting', { name: 'lasting' })
  assert.deepEqual([again.status, again.text], [201, first.text])
  await send('DELETE', `/items/${first.body.id}`, { headers: { 'If-Match': '*' } })
  assert.equal((await post('lasting', { name: 'lasting' })).text, first.text)
})

test('a key that stands for another request is refused, and creates nothing', limits, async () => {
  assert.equal((await post('reused', { name: 'first' })).status, 201)
  assertProblem(await post('reused', { name: 'reused' }), 422, 'idempotency-key-reused')
  assert.equal(await countNamed('reused'), 0)
})

test('different keys have an effect each', limits, async () => {
  const answers = await Promise.all(['a', 'b', 'c'].map((key) => post(`different-${key}`, { name: 'each' })))
  assert.equal(new Set(answers.map(({ body }) => body.id)).size, 3)
  assert.equal(await countNamed('each'), 3)
})

test('an effect that fails leaves the key free', limits, async () => {
  await query(`alter table items add constraint no_krakens check (name <> 'kraken')`)
  assertProblem(await post('failing', { name: 'kraken' }), 500, 'internal-error')
  await query('alter table items drop constraint no_krakens')
  const again = await post('failing', { name: 'kraken' })
  assert.equal(again.status, 201)
  assert.equal(again.headers.get('Idempotency-Replayed'), null)
  assert.equal(await countNamed('kraken'), 1)
})

test('a mistaken request does not use its key up', limits, async () => {
  assertProblem(await post('mistaken', { name: '' }), 400, 'invalid-request')
  assert.equal((await post('mistaken', { name: 'mended' })).status, 201)
})

test('an expired key is new, also for another request', limits, async () => {
  const first = await post('expired', { name: 'expired' })
  await query(`update idempotency_keys set expires_at = now() - interval '1 second' where key = 'expired'`)
  const second = await post('expired', { name: 'expired', quantity: 2 })
  assert.equal(second.status, 201)
  assert.notEqual(second.body.id, first.body.id)
  assert.equal(second.headers.get('Idempotency-Replayed'), null)
  assert.equal((await post('expired', { name: 'expired', quantity: 2 })).text, second.text)
  assert.equal(await countNamed('expired'), 2)
})

test('a key is 1 to 255 visible ASCII characters', limits, async () => {
  for (const key of ['', 'with space', 'x'.repeat(256), 'clé']) {
    const { errors } = assertProblem(await post(key, { name: 'badly keyed' }), 400, 'invalid-request')
    assert.deepEqual(
      errors?.map(({ field }) => field),
      ['Idempotency-Key'],
      key,
    )
  }
  assert.equal(await countNamed('badly keyed'), 0)
  assert.equal((await post('x'.repeat(255), { name: 'well keyed' })).status, 201)
})

test('times are UTC whatever time zone and date style the database has', limits, async () => {
  const url = await freshDatabase()
  await migrate(url)
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const name = new URL(url).pathname.slice(1)
  await client.query(`alter database ${client.escapeIdentifier(name)} set timezone to 'Asia/Kolkata'`)
  await client.query(`alter database ${client.escapeIdentifier(name)} set datestyle to 'German'`)
  await client.end()
  await using elsewhere = await startTestService({ DATABASE_URL: url })
  await until('reachable', async () => (await fetch(`${elsewhere.url}/items`)).status === 200)
  const before = Date.now()
  const answer = await fetch(`${elsewhere.url}/items`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ name: 'sundial' }),
  })
  const { createdAt } = (await answer.json()) as Item
  assert.match(createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/)
  assert.ok(Math.abs(Date.parse(createdAt) - before) < 10_000, createdAt)
})
