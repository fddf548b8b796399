import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { type TestContext, test } from 'node:test'
import { processClock } from '../../src/kit/timers.ts'
import { httpTransport } from '../../src/service/upstreams/http.ts'
import { type Outcome, targetOf } from '../../src/service/upstreams/transport.ts'
import { dial, type Listening, listen, type RawAnswer, request, requestBytes } from '../support/http.ts'
import { startTestService, type TestService } from '../support/service.ts'
import { until } from '../support/until.ts'

type Answering = (res: ServerResponse, nth: number) => void

/** Upstreams behind one port, told apart by path, and what they saw. */
type Farm = {
  readonly url: string
  readonly seen: IncomingMessage[]
  /** Requests whose connection closed before they were answered. */
  readonly cut: () => number
  readonly open: () => number
}

const json = (res: ServerResponse, body: string, status = 200): void =>
  void res.writeHead(status, { 'content-type': 'application/json' }).end(body)

const kinds: Readonly<Record<string, Answering>> = {
  fine: (res) => json(res, '{"id":12345678901234567890,"text":"f\u00fcr"}'),
  hinting: (res) => {
    res.writeEarlyHints({ link: '</style.css>; rel=preload' })
    json(res, '{}')
  },
  slow: (res) => setTimeout(() => json(res, '{"slow":true}'), 150),
  failing: (res) => json(res, '{}', 500),
  missing: (res) => json(res, '{}', 404),
  hanging: () => {},
  resetting: (res) => res.socket!.resetAndDestroy(),
  halting: (res) => res.writeHead(200, { 'content-length': '100' }).write('{"half":'),
  shaky: (res, nth) => (nth === 1 ? res.socket!.resetAndDestroy() : json(res, '{"nth":2}')),
  huge: (res) => {
    const pump = (): void => {
      while (res.write('x'.repeat(65_536)));
      res.once('drain', pump)
    }
    pump()
  },
  page: (res) => void res.end('<html>'),
  moved: (res) => void res.writeHead(302, { location: '/fine' }).end(),
}

const farm = async (t: TestContext): Promise<Farm> => {
  const seen: IncomingMessage[] = []
  let [cut, open] = [0, 0]
  const server: Listening = await listen((req, res) => {
    const name = req.url!.slice(1)
    seen.push(req)
    open += 1
    res.once('close', () => {
      open -= 1
      if (!res.writableFinished) cut += 1
    })
    kinds[name]!(res, seen.filter(({ url }) => url === req.url).length)
  })
  t.after(() => server[Symbol.asyncDispose]())
  return { url: `http://127.0.0.1:${server.port}`, seen, cut: () => cut, open: () => open }
}

type Behind = { readonly farm: Farm; readonly service: TestService }

const behind = async (t: TestContext, env: Record<string, string> = {}): Promise<Behind> => {
  const upstreams = await farm(t)
  const all = Object.keys(kinds).map((name) => `${name}=${upstreams.url}/${name}`)
  const service = await startTestService({ UPSTREAMS: all.join(','), UPSTREAM_TIMEOUT_MS: '400', ...env })
  t.after(() => service[Symbol.asyncDispose]())
  return { farm: upstreams, service }
}

type Source = { status: string; httpStatus?: number; tookMs: number; attempts: number; detail?: string; body?: unknown }
type Told = { complete: boolean; tookMs: number; sources: Record<string, Source> }

const told = ({ status, body }: RawAnswer): Told => {
  assert.equal(status, 200, body.toString())
  return JSON.parse(body.toString()) as Told
}

type Problem = { code: string; detail: string; errors: { field: string; value: unknown; accepted: string }[] }

const problem = ({ status, body }: RawAnswer): Problem & { status: number } => ({
  ...(JSON.parse(body.toString()) as Problem),
  status,
})

const query = (...names: string[]): string => `/aggregate?${names.map((name) => `source=${name}`).join('&')}`

test('out of the box the service asks itself, and takes as long as the slowest source', async (t) => {
  const service = await startTestService()
  t.after(() => service[Symbol.asyncDispose]())
  const { complete, tookMs, sources } = told(await request(service.port, '/aggregate'))
  assert.equal(complete, true)
  assert.deepEqual(Object.keys(sources), ['weather', 'stocks', 'news'])
  assert.deepEqual(
    Object.values(sources).map(({ body }) => (body as { ms: number }).ms),
    [200, 300, 100],
  )
  assert.ok(tookMs >= 299 && tookMs < 590, `${tookMs} ms; the sum is 600`)
  const some = told(await request(service.port, query('news', 'weather')))
  assert.deepEqual(Object.keys(some.sources), ['news', 'weather'])
})

test('each way to fail has its status, and spoils nothing for the others', async (t) => {
  const { service } = await behind(t, { UPSTREAM_ATTEMPTS: '1' })
  const answer = await request(service.port, '/aggregate')
  const { complete, sources } = told(answer)
  assert.equal(complete, false)
  assert.deepEqual(
    Object.entries(sources).map(([name, { status, httpStatus }]) => [name, status, httpStatus]),
    [
      ['fine', 'ok', 200],
      ['hinting', 'ok', 200],
      ['slow', 'ok', 200],
      ['failing', 'error', 500],
      ['missing', 'refused', 404],
      ['hanging', 'timeout', undefined],
      ['resetting', 'error', undefined],
      ['halting', 'timeout', undefined],
      ['shaky', 'error', undefined],
      ['huge', 'invalid', 200],
      ['page', 'invalid', 200],
      ['moved', 'invalid', 302],
    ],
  )
  assert.match(answer.body.toString(), /"body":\{"id":12345678901234567890,"text":"für"\}/)
  for (const { detail = '' } of Object.values(sources)) assert.doesNotMatch(detail, /127\.0\.0\.1/)
})

test('no upstream is left with a request when the answer is out', async (t) => {
  const { farm, service } = await behind(t)
  told(await request(service.port, query('fine', 'hanging', 'halting', 'huge')))
  await until('all closed', () => farm.open() === 0)
  assert.equal(farm.cut(), 3)
  assert.equal(
    farm.seen.some(({ url }) => url === '/moved'),
    false,
  )
})

test('a connection that breaks is tried again', async (t) => {
  const { farm, service } = await behind(t)
  const { shaky } = told(await request(service.port, query('shaky'))).sources
  assert.deepEqual([shaky!.status, shaky!.attempts, shaky!.body], ['ok', 2, { nth: 2 }])
  assert.equal(farm.seen.length, 2)
})

test('connections are kept for the next request', async (t) => {
  const { farm, service } = await behind(t)
  for (let i = 0; i < 5; i += 1) told(await request(service.port, query('fine')))
  assert.equal(new Set(farm.seen.map(({ socket }) => socket.remotePort)).size, 1)
})

test('when the client leaves, the upstreams see their connections close at once', async (t) => {
  const { farm, service } = await behind(t, { UPSTREAM_TIMEOUT_MS: '60000' })
  const client = await dial(service.port)
  client.write(requestBytes(query('hanging', 'halting')))
  await until('both are called', () => farm.open() === 2)
  const left = performance.now()
  client.destroy()
  await until('both are cut', () => farm.open() === 0)
  assert.ok(performance.now() - left < 1_000)
  assert.equal(farm.cut(), 2)
})

test('the deadline is passed on, smaller than it was, with the request id', async (t) => {
  const { farm, service } = await behind(t)
  const headers = { 'Request-Timeout-Ms': '300', 'X-Request-Id': 'abc-1' }
  told(await request(service.port, query('fine'), { headers }))
  told(await request(service.port, query('fine'), { headers: { 'X-Request-Id': 'not harmless' } }))
  const [given, own] = farm.seen.map(({ headers }) => Number(headers['request-timeout-ms']))
  assert.ok(given! > 100 && given! < 300, `${given}`)
  assert.ok(own! > 200 && own! <= 400, `${own}`)
  assert.deepEqual(
    farm.seen.map(({ headers }) => headers['x-request-id']),
    ['abc-1', undefined],
  )
})

test('a deadline brings what has come by then, or 504, and nothing is left running', async (t) => {
  const { farm, service } = await behind(t, { UPSTREAM_TIMEOUT_MS: '60000' })
  const headers = { 'Request-Timeout-Ms': '100' }
  const { complete, sources } = told(await request(service.port, query('fine', 'hanging'), { headers }))
  assert.deepEqual([complete, sources['fine']!.status, sources['hanging']!.status], [false, 'ok', 'timeout'])
  const late = problem(await request(service.port, query('hanging', 'slow'), { headers }))
  assert.deepEqual([late.status, late.code], [504, 'deadline-exceeded'])
  await until('all closed', () => farm.open() === 0)
  assert.equal(farm.cut(), 3)
})

test('502 says which source failed how', async (t) => {
  const { service } = await behind(t)
  const { status, code, detail } = problem(await request(service.port, query('failing', 'page')))
  assert.deepEqual([status, code], [502, 'upstreams-failed'])
  assert.equal(detail, 'failing: error (answered 500); page: invalid (the body of 6 bytes is not JSON)')
})

test('an upstream that is not there is an error, and soon a circuit that is open', async (t) => {
  const free = await listen(() => {})
  await free[Symbol.asyncDispose]()
  const url = `http://127.0.0.1:${free.port}`
  const service = await startTestService({
    UPSTREAMS: `gone=${url}`,
    UPSTREAM_ATTEMPTS: '1',
    UPSTREAM_BREAKER_FAILURES: '2',
  })
  t.after(() => service[Symbol.asyncDispose]())
  const details: string[] = []
  for (let i = 0; i < 3; i += 1) details.push(problem(await request(service.port, '/aggregate')).detail)
  assert.deepEqual(details, [
    'gone: error (no whole answer: ECONNREFUSED)',
    'gone: error (no whole answer: ECONNREFUSED)',
    'gone: circuit-open (not called: it failed too often just now)',
  ])
})

test('a source that is unknown or named twice is a mistake, and no upstream is called', async (t) => {
  const { farm, service } = await behind(t)
  for (const names of [['fine', 'http://169.254.0.1/'], ['fine', 'fine'], [''], ['constructor']]) {
    const { status, errors } = problem(await request(service.port, query(...names)))
    assert.equal(status, 400)
    assert.deepEqual(errors[0]!.field, 'source')
    assert.deepEqual(errors[0]!.value, names.length === 1 ? names[0] : names)
    assert.equal(errors[0]!.accepted, `each at most once: ${Object.keys(kinds).join(', ')}`)
  }
  assert.equal(problem(await request(service.port, '/aggregate?url=http://h.test/')).status, 400)
  assert.equal(farm.seen.length, 0)
})

test('an upstream has no more calls at once than connections; the others are refused at once', async (t) => {
  const { farm, service } = await behind(t, { UPSTREAM_CONNECTIONS: '4', UPSTREAM_TIMEOUT_MS: '5000' })
  told(await request(service.port, query('fine')))
  const answers = await Promise.all(Array.from({ length: 10 }, () => request(service.port, query('slow'))))
  const refused = answers.filter(({ status }) => status === 502)
  assert.deepEqual([refused.length, farm.seen.length], [6, 5])
  for (const answer of refused) {
    assert.equal(problem(answer).detail, 'slow: refused (not called: all 4 connections to it are in use)')
  }
})

test('what is given up before there is a connection is never sent', async (t) => {
  const { url, seen } = await farm(t)
  const transport = httpTransport(1_000)
  t.after(() => transport.close())
  const abort = transport.get(targetOf(`${url}/slow`), [], () => assert.fail('it was told of'))
  let gone = 0
  abort(() => gone++)
  assert.equal(gone, 0)
  const landed = Promise.withResolvers<Outcome>()
  transport.get(targetOf(`${url}/fine`), [], landed.resolve)
  assert.equal((await landed.promise).kind, 'answer')
  await transport.close()
  assert.deepEqual(
    seen.map(({ url }) => url),
    ['/fine'],
  )
  assert.equal(gone, 1)
})

test('connections that are still being made for nobody count, too', async (t) => {
  const { server, port, connections } = await mute()
  t.after(() => server.close())
  const service = await startTestService({
    UPSTREAMS: `mute=https://127.0.0.1:${port}/`,
    UPSTREAM_TIMEOUT_MS: '10000',
    UPSTREAM_CONNECTIONS: '2',
  })
  t.after(() => service[Symbol.asyncDispose]())
  const codes: string[] = []
  for (let i = 0; i < 4; i++) {
    const answer = await request(service.port, '/aggregate', { headers: { 'Request-Timeout-Ms': '50' } })
    codes.push(problem(answer).code)
  }
  assert.deepEqual(codes, ['deadline-exceeded', 'deadline-exceeded', 'upstreams-failed', 'upstreams-failed'])
  assert.equal(connections(), 2)
})

/** Takes connections, and never says a word: who wants TLS of it goes on connecting. */
const mute = async (): Promise<{ server: Server; port: number; connections: () => number }> => {
  let count = 0
  const server = createServer((socket) => {
    count += 1
    socket.on('error', () => {}).resume()
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return { server, port: (server.address() as AddressInfo).port, connections: () => count }
}

test('a drain lets aggregations end, and waits for no connection of its own', async () => {
  const waits = new Set<number>()
  const setTimeout = (callback: () => void, ms: number): unknown => {
    waits.add(ms)
    return processClock.setTimeout(callback, ms)
  }
  const service = await startTestService({}, { clock: { ...processClock, setTimeout } })
  const answer = request(service.port, '/aggregate')
  await until('all are at work', () => [100, 200, 300].every((ms) => waits.has(ms)))
  const start = performance.now()
  await service[Symbol.asyncDispose]()
  assert.equal(told(await answer).complete, true)
  assert.ok(performance.now() - start < 2_000)
})

test('a service that has drained keeps no connection to an upstream', async (t) => {
  const { farm, service } = await behind(t)
  told(await request(service.port, query('fine')))
  assert.equal(farm.seen[0]!.socket.destroyed, false)
  await service[Symbol.asyncDispose]()
  await until('closed', () => farm.seen[0]!.socket.destroyed, 1_000)
})
