import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import pg from 'pg'
import { migrate } from '../../src/service/db/migrate.ts'
import { updateWorlds } from '../../src/service/db/queries/update-worlds.ts'
import { freshDatabase } from '../support/postgres.ts'
import { startTestService } from '../support/service.ts'

// Rules: https://github.com/TechEmpower/FrameworkBenchmarks/wiki/Project-Information-Framework-Tests-Overview

const databaseUrl = await freshDatabase()
await migrate(databaseUrl)
// A busy machine would refuse some of the crowds that are sent here, rightly.
const service = await startTestService({ DATABASE_URL: databaseUrl, DATABASE_PIPELINES: '8', ADMISSION: 'off' })
after(() => service[Symbol.asyncDispose]())
const limits = { timeout: 20_000 }

type World = { readonly id: number; readonly randomNumber: number }

const ask = (path: string): Promise<Response> => fetch(`${service.url}${path}`)

const worlds = async (path: string): Promise<World[]> => {
  const response = await ask(path)
  assert.equal(response.status, 200, path)
  assert.equal(response.headers.get('Content-Type'), 'application/json')
  return (await response.json()) as World[]
}

/** All of a table as stored, by id. */
const stored = async (table: 'world' | 'cached_world' = 'world'): Promise<Map<number, number>> => {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    const { rows } = await client.query<{ id: number; randomnumber: number }>(`select id, randomnumber from ${table}`)
    return new Map(rows.map(({ id, randomnumber }) => [id, randomnumber]))
  } finally {
    await client.end()
  }
}

const isWorldNumber = (value: unknown): boolean =>
  Number.isInteger(value) && Number(value) >= 1 && Number(value) <= 10_000

const assertWorld = (world: World): void => {
  assert.deepEqual(Object.keys(world), ['id', 'randomNumber'])
  assert.ok(isWorldNumber(world.id) && isWorldNumber(world.randomNumber), JSON.stringify(world))
}

test('every answer names the server and the date', limits, async () => {
  for (const path of ['/plaintext', '/json', '/db', '/queries', '/updates', '/fortunes', '/cached-queries']) {
    const { headers } = await ask(path)
    assert.equal(headers.get('Server'), 'plimsoll', path)
    const ageMs = Date.now() - Date.parse(headers.get('Date')!)
    assert.ok(ageMs > -1_000 && ageMs < 5_000, path)
  }
})

const bodies = [
  { path: '/plaintext', type: 'text/plain', body: 'Hello, World!' },
  { path: '/json', type: 'application/json', body: '{"message":"Hello, World!"}' },
] as const

for (const { path, type, body } of bodies) {
  test(`${path} is exactly ${body}`, limits, async () => {
    const response = await ask(path)
    assert.equal(response.status, 200)
    assert.equal(response.headers.get('Content-Type'), type)
    assert.equal(response.headers.get('Content-Length'), String(body.length))
    assert.equal(await response.text(), body)
  })
}

test('world has the ids 1 to 10,000, each with a number from 1 to 10,000', limits, async () => {
  const all = await stored()
  assert.deepEqual(
    [...all.keys()].toSorted((a, b) => a - b),
    Array.from({ length: 10_000 }, (_, i) => i + 1),
  )
  assert.ok([...all.values()].every(isWorldNumber))
  assert.ok(new Set(all.values()).size > 5_000)
})

test('/db is one random row as stored', limits, async () => {
  const all = await stored()
  const seen = await Promise.all(Array.from({ length: 20 }, async () => (await (await ask('/db')).json()) as World))
  for (const world of seen) {
    assertWorld(world)
    assert.equal(world.randomNumber, all.get(world.id))
  }
  assert.ok(new Set(seen.map(({ id }) => id)).size > 10)
})

const counts: readonly (readonly [given: string, count: number])[] = [
  ['', 1],
  ['?NAME=', 1],
  ['?NAME=foo', 1],
  ['?NAME=0', 1],
  ['?NAME=-5', 1],
  ['?NAME=1e3', 1],
  ['?NAME=2.5', 1],
  ['?NAME=1', 1],
  ['?NAME=20', 20],
  ['?NAME=020', 20],
  ['?other=3&NAME=7', 7],
  ['?NAME=500', 500],
  ['?NAME=501', 500],
  ['?NAME=99999999999999999999', 500],
  ['?NAME=3&NAME=4', 1],
]

for (const { path, name } of [
  { path: '/queries', name: 'queries' },
  { path: '/updates', name: 'queries' },
  { path: '/cached-queries', name: 'count' },
]) {
  test(`${path} clamps its count to 1..500, whatever is given`, limits, async () => {
    for (const [given, count] of counts) {
      const found = await worlds(`${path}${given.replaceAll('NAME', name)}`)
      assert.equal(found.length, count, given)
      for (const world of found) assertWorld(world)
    }
  })
}

test('/queries gives random rows as stored', limits, async () => {
  const all = await stored()
  const found = await worlds('/queries?queries=500')
  for (const { id, randomNumber } of found) assert.equal(randomNumber, all.get(id))
  assert.ok(new Set(found.map(({ id }) => id)).size > 450)
})

test('/updates stores what it answers, in these rows and no others', limits, async () => {
  for (const count of [1, 20, 500]) {
    const before = await stored()
    const answered = new Map(
      (await worlds(`/updates?queries=${count}`)).map(({ id, randomNumber }) => [id, randomNumber]),
    )
    for (const [id, randomNumber] of await stored()) assert.equal(randomNumber, answered.get(id) ?? before.get(id))
    const changed = [...answered].filter(([id, randomNumber]) => randomNumber !== before.get(id))
    assert.ok(changed.length >= answered.size * 0.95)
  }
})

test('/updates gives one number to a row that came up twice', limits, async () => {
  // Ids 1, 2, 1, then the numbers: a source of randomness that repeats itself.
  const draws = [0, 0.0001, 0, 0.5, 0.6, 0.7]
  let drawn = 0
  await using repeating = await startTestService(
    { DATABASE_URL: databaseUrl },
    { random: () => draws[drawn++ % draws.length]! },
  )
  const answer = (await (await fetch(`${repeating.url}/updates?queries=3`)).json()) as World[]
  assert.deepEqual(
    answer.map(({ id }) => id),
    [1, 2, 1],
  )
  assert.equal(answer[0]!.randomNumber, answer[2]!.randomNumber)
  assert.equal((await stored()).get(1), answer[0]!.randomNumber)
})

test('an update goes through its ids in their order, one by one, however many they are', limits, async () => {
  const ids = `{${Array.from({ length: 500 }, (_, i) => 10_000 - 7 * i).join()}}`
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    await client.query(`prepare update_worlds (text, text) as ${updateWorlds.text}`)
    const { rows } = await client.query<Record<string, string>>(`explain execute update_worlds ('${ids}', '${ids}')`)
    const plan = rows.map((row) => row['QUERY PLAN']).join('\n')
    assert.match(plan, /Nested Loop[^]*Subquery Scan on new[^]*Sort[^]*Index Scan using world_pkey/)
  } finally {
    await client.end()
  }
})

test('concurrent updates never deadlock', limits, async () => {
  for (const { count, requests } of [
    { count: 20, requests: 50 },
    { count: 500, requests: 100 },
  ]) {
    const statuses = await Promise.all(
      Array.from({ length: requests }, async () => {
        const response = await ask(`/updates?queries=${count}`)
        await response.arrayBuffer()
        return response.status
      }),
    )
    assert.deepEqual(new Set(statuses), new Set([200]))
  }
})

const fortunes = [
  [11, '&lt;script&gt;alert(&quot;This should not be displayed in a browser alert box.&quot;);&lt;/script&gt;'],
  [4, 'A bad random number generator: 1, 1, 1, 1, 1, 4.33e+67, 1, 1, 1'],
  [5, 'A computer program does what you tell it to do, not what you want it to do.'],
  [2, 'A computer scientist is someone who fixes things that aren&#39;t broken.'],
  [8, 'A list is only as strong as its weakest link. — Donald Knuth'],
  [0, 'Additional fortune added at request time.'],
  [3, 'After enough decimal places, nobody gives a damn.'],
  [7, 'Any program that runs right is obsolete.'],
  [10, 'Computers make very fast, very accurate mistakes.'],
  [6, 'Emacs is a nice operating system, but I prefer UNIX. — Tom Christaensen'],
  [9, 'Feature: A bug with seniority.'],
  [1, 'fortune: No such file or directory'],
  [12, 'フレームワークのベンチマーク'],
] as const

test('/fortunes is the page of the rules, to the byte', limits, async () => {
  const response = await ask('/fortunes')
  const rows = fortunes.map(([id, message]) => `<tr><td>${id}</td><td>${message}</td></tr>`).join('')
  const page =
    '<!DOCTYPE html><html><head><title>Fortunes</title></head><body><table>' +
    `<tr><th>id</th><th>message</th></tr>${rows}</table></body></html>`
  assert.equal(response.headers.get('Content-Type'), 'text/html; charset=utf-8')
  assert.equal(response.headers.get('Content-Length'), String(Buffer.byteLength(page)))
  assert.equal(await response.text(), page)
})

test('/cached-queries gives rows of cached_world, which updates of world leave as they are', limits, async () => {
  const all = await stored('cached_world')
  assert.equal(all.size, 10_000)
  for (let i = 0; i < 3; i++) await worlds('/updates?queries=500')
  for (let i = 0; i < 10; i++) {
    for (const { id, randomNumber } of await worlds('/cached-queries?count=500'))
      assert.equal(randomNumber, all.get(id))
  }
  assert.deepEqual(await stored('cached_world'), all)
})

test('/cached-queries answers from memory what was asked for before, and says so', limits, async () => {
  // Ids 1, 2, 3, then twice 1, 2, 5001.
  const draws = [0, 0.0001, 0.0002, 0, 0.0001, 0.5, 0, 0.0001, 0.5]
  let drawn = 0
  await using fresh = await startTestService(
    { DATABASE_URL: databaseUrl },
    // The cache draws its jitter from the same source, once for each row that it keeps.
    { random: () => (drawn < draws.length ? draws[drawn++]! : 0.5) },
  )
  const status = async (): Promise<string | null> => {
    const answer = await fetch(`${fresh.url}/cached-queries?count=3`)
    assert.equal(((await answer.json()) as World[]).length, 3)
    return answer.headers.get('Cache-Status')
  }
  drawn = 0
  assert.equal(await status(), 'plimsoll; fwd=miss')
  drawn = 3
  assert.equal(await status(), 'plimsoll; fwd=partial')
  drawn = 6
  assert.match((await status())!, /^plimsoll; hit; ttl=\d+$/)
})
