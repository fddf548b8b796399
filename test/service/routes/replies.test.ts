import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { parseConfig } from '../../../src/service/config.ts'
import type { Threads } from '../../../src/service/work/threads/pool.ts'
import { testApp } from '../../support/app.ts'
import { listen, type Listening, type RawAnswer, request, type RawRequest } from '../../support/http.ts'
import { testBuild } from '../../support/service.ts'

/** Threads of a known speed. */
const threads = {
  cpu: (ms: number) => Promise.resolve({ cpuMs: ms, tookMs: ms + 0.5, iterations: 7 }),
  sleep: (ms: number) => Promise.resolve({ tookMs: ms + 0.25 }),
} as unknown as Threads

const start = (replies: 'direct' | 'koa'): Promise<Listening> => {
  const config = parseConfig({ REPLIES: replies, INSTANCE: 'one', MAX_BODY_BYTES: '100' }, testBuild)
  const clock = { now: () => 1_234.5, setTimeout, clearTimeout }
  return listen(testApp(config, { threads, clock }).callback())
}

let direct: Listening
let koa: Listening
before(async () => {
  direct = await start('direct')
  koa = await start('koa')
})
after(() => Promise.all([direct[Symbol.asyncDispose](), koa[Symbol.asyncDispose]()]))

type Expected = { readonly status: number; readonly type: string }

const json: Expected = { status: 200, type: 'application/json' }
const problem = (status: number): Expected => ({ status, type: 'application/problem+json' })

/** Every route that needs no database, and each way in which one can refuse. */
const targets: readonly (readonly [target: string, expected: Expected, options?: RawRequest])[] = [
  ['/', json],
  ['/json', json],
  ['/json?x=1', json],
  ['/JSON/', json],
  ['/plaintext', { status: 200, type: 'text/plain' }],
  ['/work/wait?ms=0', json],
  ['/work/wait?ms=3', json],
  ['/work/gather?ms=1,0,2', json],
  ['/work/cpu?ms=20', json],
  ['/work/block?ms=0', json],
  ['/work/thread?ms=20', json],
  ['/work/mix?wait=1&cpu=2', json],
  ['/work/memory?mb=1', json],
  ['/problems', json],
  ['/problems/not-found', json],
  ['/problems/nothing', problem(404)],
  ['/nothing', problem(404)],
  ['/work/wait', problem(400)],
  ['/work/wait?ms=x&y=z', problem(400)],
  ['/work/gather?ms=1,', problem(400)],
  ['/items/1', problem(400)],
  ['/items', problem(503)],
  ['/db', problem(503)],
  ['/queries?queries=2', problem(503)],
  ['/updates?queries=2', problem(503)],
  ['/fortunes', problem(503)],
  ['/cached-queries?count=2', problem(503)],
  ['/work/query?ms=1', problem(503)],
  ['/work/mix?queries=1', problem(503)],
]

const asked = { headers: { 'X-Request-Id': 'the-same' } }

/** Everything but Date, in the order of the wire; numbers that are measured are left out where asked. */
const wire = ({ statusLine, headers, body, whole }: RawAnswer, measured: boolean): object => {
  const kept = headers.filter(([name]) => name !== 'Date' && !(measured && name === 'Content-Length'))
  const text = body.toString('latin1')
  return { statusLine, headers: kept, body: measured ? text.replaceAll(/\d+(\.\d+)?/g, '0') : text, whole }
}

for (const [target, expected] of targets) {
  const measured = target.startsWith('/work/block')

  test(`GET ${target} is the same bytes, directly and through Koa`, async () => {
    const [fast, plain] = [await request(direct.port, target, asked), await request(koa.port, target, asked)]
    assert.deepEqual(wire(fast, measured), wire(plain, measured))
    assert.deepEqual({ status: fast.status, type: fast.header('Content-Type') }, expected)
    assert.equal(fast.header('Content-Length'), String(fast.body.length))
    assert.deepEqual([fast.header('Server'), fast.header('Plimsoll-Instance')], ['plimsoll', 'one'])
    assert.notEqual(fast.header('Date'), undefined)
  })

  test(`HEAD ${target} is the head of GET, directly and through Koa`, async () => {
    for (const { port } of [direct, koa]) {
      const get = await request(port, target, asked)
      const head = await request(port, target, { ...asked, method: 'HEAD' })
      assert.deepEqual(wire(head, measured), { ...wire(get, measured), body: '' })
    }
  })
}

const others: readonly (readonly [method: string, target: string, status: number, RawRequest?])[] = [
  ['OPTIONS', '/json', 204],
  ['OPTIONS', '/items/1', 204],
  ['OPTIONS', '/nothing', 404],
  ['POST', '/json', 405],
  ['PURGE', '/json', 501],
  ['POST', '/items', 503, { body: '{}', headers: { 'Content-Type': 'application/json' } }],
  ['DELETE', '/items/00000000-0000-7000-8000-000000000000', 428],
]

for (const [method, target, status, options] of others) {
  test(`${method} ${target} is the same bytes, directly and through Koa`, async () => {
    const ask = { ...options, method, headers: { ...options?.headers, ...asked.headers } }
    const [fast, plain] = [await request(direct.port, target, ask), await request(koa.port, target, ask)]
    assert.deepEqual(wire(fast, false), wire(plain, false))
    assert.equal(fast.status, status)
  })
}

test('every link of the index leads to a route', async () => {
  const { links } = JSON.parse((await request(direct.port, '/')).body.toString()) as { links: Record<string, string> }
  assert.ok(Object.keys(links).length >= 10)
  for (const link of Object.values(links)) {
    const { status } = await request(direct.port, link, { method: 'OPTIONS' })
    assert.equal(status, 204, link)
  }
})

test('every problem has a page that its type leads to', async () => {
  const list = JSON.parse((await request(direct.port, '/problems')).body.toString()) as { problems: { type: string }[] }
  for (const page of list.problems) {
    assert.deepEqual(JSON.parse((await request(direct.port, page.type)).body.toString()), page)
  }
})
