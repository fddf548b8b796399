import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { test, type TestContext } from 'node:test'
import type { Sample } from '../../../src/kit/metrics.ts'
import { Failure } from '../../../src/kit/errors.ts'
import type { ProblemCode } from '../../../src/contract/problems.ts'
import { assemble } from '../../../src/service/app.ts'
import { cancellation } from '../../../src/service/http/cancellation.ts'
import type { Api } from '../../../src/service/http/api.ts'
import type { ServiceMiddleware } from '../../../src/service/http/lean-koa.ts'
import { problemReply } from '../../../src/service/http/problem.ts'
import { RequestTelemetry, type Told } from '../../../src/service/telemetry/requests.ts'
import { Sampler } from '../../../src/service/telemetry/sampler.ts'
import { dial, listen, request, requestBytes } from '../../support/http.ts'
import { until } from '../../support/until.ts'
import { VirtualClock } from '../work/virtual-clock.ts'

const operation = { summary: 'a', answers: {} }

type Options = { ratio?: number; tracing?: boolean; before?: readonly ServiceMiddleware[] }

/** An application with routes of several kinds, on a clock that a request moves by `?ms=`. */
const start = async (t: TestContext, { ratio = 0, tracing = true, before = [] }: Options = {}) => {
  const clock = new VirtualClock()
  const told: Told[] = []
  let proceed: (() => boolean) | undefined
  const sampler = tracing ? new Sampler({ parentBased: true, ratio }, { clock, random: () => 0.5 }) : undefined
  const telemetry = new RequestTelemetry({
    clock,
    sloMs: 42,
    slowMs: 1_000,
    sampler,
    tell: (request) => told.push(request),
  })
  const routes = (api: Api): void => {
    api.get('/fast', operation, async (ctx) => {
      await clock.advance(Number(new URLSearchParams(ctx.querystring).get('ms')))
      ctx.reply(200, 'text/plain', 'ok')
    })
    api.get('/items/:id', operation, (ctx) => ctx.reply(200, 'text/plain', ctx.params['id']!))
    api.get('/broken', operation, () => {
      throw new Error('canary')
    })
    api.get('/away', operation, () => {
      throw new Failure<ProblemCode>('database-unavailable')
    })
    api.get('/stream', operation, (ctx) => {
      ctx.body = Readable.from(['a', 'b'])
    })
    api.get('/deaf', operation, async (ctx) => {
      await new Promise<void>((resolve) => {
        proceed = () => {
          if (ctx.res.destroyed) resolve()
          return ctx.res.destroyed
        }
      })
      ctx.reply(200, 'text/plain', 'nobody hears it')
    })
    api.get('/held', operation, async (ctx) => {
      const cancel = cancellation(ctx)
      await new Promise<void>((resolve) => cancel.addEventListener('abort', resolve))
      cancel.throwIfAborted()
    })
  }
  const app = assemble({}, [routes], undefined, before)
  app.on('error', () => {})
  app.observer = telemetry
  const server = await listen(app.callback())
  t.after(() => server[Symbol.asyncDispose]())
  const collected = (name: keyof ReturnType<typeof telemetry.collect>): readonly Sample[] =>
    telemetry.collect(clock.now())[name] ?? []
  const counts = (): Record<string, number> =>
    Object.fromEntries(
      collected('http_server_request_duration_seconds')
        .filter(({ metricName, value }) => metricName!.endsWith('_count') && value > 0)
        .map(({ labels, value }) => [Object.values(labels).join(' '), value]),
    )
  return { clock, told, telemetry, collected, counts, port: server.port, proceed: () => proceed?.() === true }
}

test('a request counts under its method, the template of its route, and the class of its status', async (t) => {
  const { port, counts } = await start(t)
  for (const target of ['/fast', '/fast?ms=1', '/items/1', '/items/2', '/FAST/', '/nowhere', '/broken']) {
    await request(port, target)
  }
  await request(port, '/fast', { method: 'HEAD' })
  await request(port, '/fast', { method: 'POST' })
  assert.deepEqual(counts(), {
    'GET /fast 2xx': 3,
    'GET /items/:id 2xx': 2,
    'GET unmatched 4xx': 1,
    'GET /broken 5xx': 1,
    'HEAD /fast 2xx': 1,
    'POST unmatched 4xx': 1,
  })
})

test('failures of a route are there with 0 from its first request on, so that the first one is seen to be added', async (t) => {
  const { port, collected } = await start(t)
  await request(port, '/fast')
  await request(port, '/nowhere')
  const zeros = collected('http_server_request_duration_seconds')
    .filter(({ metricName, value }) => metricName!.endsWith('_count') && value === 0)
    .map(({ labels }) => Object.values(labels))
  assert.deepEqual(zeros, [['GET', '/fast', '5xx']])
})

test('a client that left a handler which does not look for that counts as one that left', async (t) => {
  const { port, counts, collected, proceed } = await start(t)
  const socket = await dial(port)
  socket.write(requestBytes('/deaf'))
  await until('it is at work', () => collected('http_server_active_requests')[0]!.value === 1)
  socket.destroy()
  await once(socket, 'close')
  await until('the server sees it', () => proceed())
  await until('none is active', () => collected('http_server_active_requests')[0]!.value === 0)
  assert.deepEqual(counts(), { 'GET /deaf 4xx': 1 })
  assert.deepEqual(collected('plimsoll_problems_total'), [{ labels: { code: 'client-closed-request' }, value: 1 }])
})

test('methods that nobody knows are one', async (t) => {
  const { port, counts } = await start(t)
  for (const method of ['PROPFIND', 'MKCOL', 'SUBSCRIBE']) await request(port, '/fast', { method })
  assert.deepEqual(counts(), { '_OTHER unmatched 5xx': 3 })
})

test('the time of a request is its own, and a bucket ends where the SLO is', async (t) => {
  const { port, collected } = await start(t)
  for (const ms of [42, 43, 2_000]) await request(port, `/fast?ms=${ms}`)
  const samples = collected('http_server_request_duration_seconds')
  const upTo = (le: number | string): number | undefined => samples.find(({ labels }) => labels['le'] === le)?.value
  assert.deepEqual([upTo(0.025), upTo(0.042), upTo(0.05), upTo(2.5), upTo('+Inf')], [0, 1, 2, 3, 3])
  assert.ok(Math.abs(samples.find(({ metricName }) => metricName!.endsWith('_sum'))!.value - 2.085) < 1e-9)
})

test('a fast request that went well is told of to nobody', async (t) => {
  const { port, told } = await start(t)
  await request(port, '/fast?ms=1000')
  await request(port, '/nowhere')
  assert.deepEqual(told, [])
})

test('at a ratio of 0 every error and every slow request is told of, with a trace', async (t) => {
  const { port, told } = await start(t)
  await request(port, '/broken')
  await request(port, '/away')
  await request(port, '/fast?ms=1001')
  assert.deepEqual(
    told.map(({ reason, route, status, problem, tookMs }) => [reason, route, status, problem, tookMs]),
    [
      ['error', '/broken', 500, 'internal-error', 0],
      ['error', '/away', 503, 'database-unavailable', 0],
      ['slow', '/fast', 200, undefined, 1_001],
    ],
  )
  assert.equal((told[0]!.failure as Error).message, 'canary')
  assert.deepEqual(
    told.map(({ trace }) => [trace!.root.name, trace!.root.endMs - trace!.root.startMs, trace!.root.errorType]),
    [
      ['GET /broken', 0, 'internal-error'],
      ['GET /away', 0, 'database-unavailable'],
      ['GET /fast', 1_001, undefined],
    ],
  )
})

test('without tracing they are told of without a trace', async (t) => {
  const { port, told, collected } = await start(t, { tracing: false })
  await request(port, '/broken')
  assert.equal(told.length, 1)
  assert.equal(told[0]!.trace, undefined)
  assert.ok(collected('http_server_request_duration_seconds').every(({ exemplar }) => exemplar === undefined))
})

test('of a sampled request the bucket that it fell in names its trace', async (t) => {
  const { port, told, collected } = await start(t, { ratio: 1 })
  await request(port, '/fast?ms=30')
  const { trace } = told[0]!
  const named = collected('http_server_request_duration_seconds').filter(({ exemplar }) => exemplar !== undefined)
  assert.deepEqual(
    named.map(({ labels, exemplar }) => [labels['le'], exemplar!.labelSet['trace_id'], exemplar!.value]),
    [[0.042, trace!.id, 0.03]],
  )
})

test('a request that was told others to join keeps those ids when it turns out to be an error', async (t) => {
  let joined = ''
  const before: ServiceMiddleware = (ctx, next) => {
    joined = ctx.app.observer!.traceOf(ctx)!.root.id
    return next()
  }
  const { port, told } = await start(t, { before: [before] })
  await request(port, '/away')
  assert.equal(told[0]!.trace!.root.id, joined)
  assert.equal(told[0]!.trace!.sampled, true)
})

test('nothing that a client made up is told: no query, no header, no path without a route', async (t) => {
  const { port, told } = await start(t, { ratio: 1 })
  const headers = { 'User-Agent': 'canary', Authorization: 'canary', 'X-Api-Key': 'canary' }
  await request(port, '/fast?token=canary', { headers })
  await request(port, '/canary', { headers })
  const text = JSON.stringify(told.map(({ trace, ...rest }) => [rest, trace!.root.name, trace!.root.attributes]))
  assert.ok(text.includes('/fast'))
  assert.ok(!text.includes('canary'), text)
})

test('a refusal counts under the route that was asked for, and a flood of them is told of now and then', async (t) => {
  const reply = problemReply('overloaded', 'too many')
  const refuse: ServiceMiddleware = (ctx) => reply(ctx, 1)
  const { port, told, counts, collected } = await start(t, { ratio: 1, before: [refuse] })
  for (let i = 0; i < 120; i++) await request(port, i % 2 === 0 ? '/fast' : '/items/7')
  assert.deepEqual(counts(), { 'GET /fast 5xx': 60, 'GET /items/:id 5xx': 60 })
  assert.equal(told.length, 100)
  assert.deepEqual(collected('plimsoll_log_lines_dropped_total'), [{ labels: {}, value: 20 }])
  assert.deepEqual(collected('plimsoll_problems_total'), [{ labels: { code: 'overloaded' }, value: 120 }])
})

test('a streamed answer counts when its body is out, and one whose client goes counts as that', async (t) => {
  const { port, counts, collected, clock } = await start(t)
  await request(port, '/stream')
  await until('the stream counts', () => counts()['GET /stream 2xx'] === 1)
  const socket = await dial(port)
  socket.write(requestBytes('/held'))
  await until('one is active', () => collected('http_server_active_requests')[0]!.value === 1)
  await clock.advance(3_000)
  assert.ok(collected('plimsoll_requests_seconds_total')[0]!.value >= 3)
  socket.destroy()
  await once(socket, 'close')
  await until('none is active', () => collected('http_server_active_requests')[0]!.value === 0)
  assert.equal(counts()['GET /held 4xx'], 1)
})
