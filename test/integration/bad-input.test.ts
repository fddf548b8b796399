import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Server } from 'node:http'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { after, before, beforeEach, test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { z } from 'zod'
import { assemble } from '../../src/service/app.ts'
import { readJson } from '../../src/service/http/body.ts'
import { answerUnreadable, type ProblemDetails } from '../../src/service/http/problem.ts'
import type { ServiceRouter } from '../../src/service/http/router.ts'
import {
  collect,
  dial,
  exchange,
  listen,
  type Listening,
  type RawAnswer,
  readAnswers,
  request,
  requestBytes,
} from '../support/http.ts'
import { startTestService, type TestService } from '../support/service.ts'
import { until } from '../support/until.ts'

const maxBodyBytes = 10_000
const schema = z.strictObject({ name: z.string('a text'), note: z.string('a text').default('') })

let service: TestService
let bodies: Listening
let read: number
const errors: unknown[] = []

/** A route that reads a body, without the database that the service's own ones need. */
const routes = (router: ServiceRouter): void => {
  router.post('/bodies', async (ctx) => {
    const { data } = await readJson(ctx, schema, maxBodyBytes)
    read += 1
    ctx.reply(200, 'text/plain', data.name)
  })
  router.get('/ok', (ctx) => ctx.reply(200, 'text/plain', 'ok'))
  router.get('/stream', (ctx) => {
    ctx.body = Readable.from(
      (async function* () {
        for (let i = 0; i < 20; i++) {
          yield `part ${i}\n`
          await sleep(20)
        }
      })(),
    )
  })
}

before(async () => {
  service = await startTestService()
  const app = assemble({ headers: ['Server', 'test'] }, [({ router }) => routes(router)], undefined)
  app.on('error', (error: unknown) => errors.push(error))
  bodies = await listen(app.callback())
  bodies.server.on('clientError', answerUnreadable(app))
})
after(async () => {
  await bodies[Symbol.asyncDispose]()
  await service[Symbol.asyncDispose]()
})
beforeEach(() => {
  read = 0
  errors.length = 0
})

const detailsOf = ({ body }: RawAnswer): ProblemDetails => JSON.parse(body.toString()) as ProblemDetails

const assertProblem = (answer: RawAnswer | undefined, status: number, code: string, what = ''): void => {
  assert.ok(answer !== undefined, `${what}: no answer`)
  assert.equal(answer.header('Content-Type'), 'application/problem+json', what)
  assert.ok(answer.whole, what)
  const details = detailsOf(answer)
  assert.deepEqual([answer.status, details.status, details.code], [status, status, code], what)
}

const json = { 'Content-Type': 'application/json' }
const post = (body: string | Buffer, headers: Readonly<Record<string, string>> = json): Promise<RawAnswer> =>
  request(bodies.port, '/bodies', { method: 'POST', headers, body })

const assertAlive = async (): Promise<void> => {
  assert.equal((await request(bodies.port, '/ok')).status, 200)
  assert.equal((await request(service.port, '/json')).status, 200)
}

const get = 'GET /json HTTP/1.1\r\nHost: test\r\n'

const unreadable: readonly string[] = [
  'hello\r\n\r\n',
  'GET\r\n\r\n',
  'GET /json HTTP/9.9\r\nHost: test\r\n\r\n',
  'GET /js on HTTP/1.1\r\nHost: test\r\n\r\n',
  'G\u0000T / HTTP/1.1\r\n\r\n',
  '\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003',
  `${get}no colon\r\n\r\n`,
  `${get}A: b\u0000c\r\n\r\n`,
  `${get}Content-Length: x\r\n\r\n`,
  `${get}Content-Length: -1\r\n\r\n`,
  `${get}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`,
  `${get}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
]

for (const bytes of unreadable) {
  test(`${JSON.stringify(bytes)} is no request: 400, and the connection ends`, async () => {
    const answers = readAnswers(await exchange(service.port, Buffer.from(bytes, 'latin1')))
    assert.equal(answers.length, 1)
    assertProblem(answers[0], 400, 'malformed-request')
    assert.deepEqual([answers[0]!.header('Connection'), answers[0]!.header('Server')], ['close', 'plimsoll'])
    assert.equal((await request(service.port, '/json')).status, 200)
  })
}

/** Sends all of it before reading any of the answer, and tells whether the connection was reset. */
const sendThenRead = async (
  port: number,
  bytes: Buffer,
): Promise<{ answer: RawAnswer | undefined; reset: boolean }> => {
  const socket = await dial(port)
  socket.pause()
  let reset = false
  socket.on('error', () => {
    reset = true
  })
  const sent = new Promise((resolve) => socket.write(bytes, resolve))
  await Promise.race([sent, once(socket, 'close')])
  const received = collect(socket)
  socket.resume()
  const [answer] = readAnswers(await received)
  return { answer, reset }
}

test('a query string of 1 MB is a 431 that the client can read', async () => {
  const bytes = requestBytes(`/work/wait?ms=${'1'.repeat(1_000_000)}`)
  for (let round = 0; round < 5; round++) {
    const { answer, reset } = await sendThenRead(service.port, bytes)
    assertProblem(answer, 431, 'headers-too-large')
    assert.equal(reset, false)
  }
})

test('a header section that is too large is a 431', async () => {
  const one = await request(service.port, '/json', { headers: { 'X-Large': 'x'.repeat(20_000) } })
  assertProblem(one, 431, 'headers-too-large')
  const many = Object.fromEntries(Array.from({ length: 1_500 }, (_, i) => [`X-${i}`, 'some value']))
  assertProblem(await request(service.port, '/json', { headers: many }), 431, 'headers-too-large')
})

test('a body over its limit is a 413 that the client can read, with Content-Length and in chunks', async () => {
  // More than the buffers of both sockets take in: a server that closes at once resets such a client.
  const body = Buffer.alloc(20_000_000, ' ')
  const chunks = Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n0\r\n\r\n')])
  const framings = [
    requestBytes('/bodies', { method: 'POST', headers: json, body }),
    requestBytes('/bodies', { method: 'POST', headers: { ...json, 'Transfer-Encoding': 'chunked' }, body: chunks }),
  ]
  for (const bytes of framings) {
    const { answer, reset } = await sendThenRead(bodies.port, bytes)
    assertProblem(answer, 413, 'body-too-large')
    assert.deepEqual([answer?.header('Connection'), reset], ['close', false])
  }
  assert.deepEqual([read, errors.length], [0, 0])
})

const ofLength = (length: number): string => `{"name":"${'x'.repeat(length - 11)}"}`

test('the limit of a body is its last accepted length', async () => {
  assert.equal((await post(ofLength(maxBodyBytes))).status, 200)
  assertProblem(await post(ofLength(maxBodyBytes + 1)), 413, 'body-too-large')
})

test('a client that never stops sending is cut off soon after its 413', async () => {
  const socket = await dial(bodies.port)
  const received = collect(socket)
  socket.write(
    'POST /bodies HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n',
  )
  const drip = setInterval(() => socket.write(Buffer.alloc(1_000)), 10)
  const start = performance.now()
  const [answer] = readAnswers(await received)
  clearInterval(drip)
  assertProblem(answer, 413, 'body-too-large')
  assert.ok(performance.now() - start < 3_000)
})

const connectionsOf = (server: Server): Promise<number> =>
  new Promise((resolve, reject) => {
    server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)))
  })

test('a client that keeps its side open after a 400 holds no connection', async () => {
  const socket = connect({ port: bodies.port, host: '127.0.0.1', allowHalfOpen: true })
  socket.resume().on('error', () => {})
  socket.write('hello\r\n\r\n')
  await once(socket, 'end')
  await until('no connection', async () => (await connectionsOf(bodies.server)) === 0)
  socket.destroy()
})

for (const type of ['text/plain', 'application/jsonx', 'multipart/form-data; boundary=x', 'json', '']) {
  test(`a body of type ${JSON.stringify(type)} is a 415`, async () => {
    assertProblem(await post('{"name":"x"}', { 'Content-Type': type }), 415, 'unsupported-media-type')
    assert.equal(read, 0)
  })
}

test('a body without a type is a 415', async () => {
  assertProblem(await post('{"name":"x"}', {}), 415, 'unsupported-media-type')
})

test('JSON may name its charset or a subtype', async () => {
  for (const type of ['application/json; charset=utf-8', 'Application/JSON', 'application/merge-patch+json']) {
    assert.equal((await post('{"name":"\u00e9"}', { 'Content-Type': type })).body.toString(), '\u00e9')
  }
})

const notAnObject = [
  '',
  ' ',
  '{',
  '{"name":"x"',
  '{"name":"x"}}',
  "{'name':1}",
  'nul',
  'null',
  '7',
  '"x"',
  '[]',
  '[{"name":"x"}]',
  'NaN',
]
for (const body of notAnObject) {
  test(`the body ${JSON.stringify(body)} is a 400`, async () => {
    assertProblem(await post(body), 400, 'malformed-request')
    assert.equal(read, 0)
  })
}

test('a body that is not UTF-8 is a 400', async () => {
  const compressed = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0])
  const halves = [Buffer.from('{"name":"'), Buffer.from([0xc3]), Buffer.from('"}')]
  for (const body of [compressed, Buffer.concat(halves), Buffer.from('{"name":"x"}', 'utf16le')]) {
    assertProblem(await post(body), 400, 'malformed-request')
  }
})

test('all mistakes of a body are told at once', async () => {
  const answer = await post('{"note":7,"__proto__":{"x":1},"more":null}')
  assertProblem(answer, 400, 'invalid-request')
  assert.deepEqual(
    detailsOf(answer).errors?.map(({ field, value }) => [field, value]),
    [
      ['name', undefined],
      ['note', 7],
      ['__proto__', { x: 1 }],
      ['more', null],
    ],
  )
})

test('a body nested too deeply to be written back is a 400', async () => {
  const depth = 4_900
  assertProblem(await post(`{"name":${'['.repeat(depth)}${']'.repeat(depth)}}`), 400, 'invalid-request')
  await using large = await listen(
    assemble(
      {},
      [({ router }) => router.post('/', async (ctx) => void (await readJson(ctx, schema, 2_000_000)))],
      undefined,
    ).callback(),
  )
  const body = `{"name":${'{"a":['.repeat(200_000)}${']}'.repeat(200_000)}}`
  assertProblem(await request(large.port, '/', { method: 'POST', headers: json, body }), 400, 'invalid-request')
})

test('a body full of mistakes has a short answer', async () => {
  const keys = Array.from({ length: 1_000 }, (_, i) => `"k${i}":1`)
  for (const body of [`{${keys.join(',')}}`, `{"${'k'.repeat(9_000)}":1}`, `{"name":[${'1,'.repeat(4_000)}1]}`]) {
    const answer = await post(body)
    assertProblem(answer, 400, 'invalid-request')
    assert.ok(answer.body.length < 20_000, `${answer.body.length} bytes`)
  }
})

test('a client that leaves in the middle of its body is no error, and its request has no effect', async () => {
  const head = 'POST /bodies HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n'
  for (const end of ['destroy', 'end', 'resetAndDestroy'] as const) {
    const socket = await dial(bodies.port)
    socket.write(`${head}{"name"`)
    await sleep(20)
    socket[end]()
    await assertAlive()
  }
  assert.deepEqual([read, errors], [0, []])
})

test('a chunk that is none is a 400, once', async () => {
  const head =
    'POST /bodies HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n'
  const answers = readAnswers(await exchange(bodies.port, `${head}5\r\n{"nam\r\nZZ\r\n`))
  assert.equal(answers.length, 1)
  assertProblem(answers[0], 400, 'malformed-request')
  await assertAlive()
  assert.deepEqual([read, errors], [0, []])
})

test('a body that nobody reads does not disturb the next request on its connection', async () => {
  const body = 'x'.repeat(500_000)
  const refused = (target: string): string =>
    `POST ${target} HTTP/1.1\r\nHost: test\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  const bytes = `${refused('/nothing')}${refused('/ok')}${refused('/bodies')}${requestBytes('/ok').toString()}`
  const answers = readAnswers(await exchange(bodies.port, bytes))
  assert.deepEqual(
    answers.map(({ status }) => status),
    [404, 405, 415, 200],
  )
})

test('pipelined requests are answered each, in their order, good and bad', async () => {
  const targets = ['/work/wait?ms=50', '/json', '/nothing', '/work/wait?ms=x', '/work/wait?ms=1', '/plaintext']
  const open = targets.map((target) => `GET ${target} HTTP/1.1\r\nHost: test\r\n\r\n`)
  const answers = readAnswers(await exchange(service.port, `${open.join('')}${requestBytes('/').toString()}`))
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 404, 400, 200, 200, 200],
  )
  assert.equal(answers[5]!.body.toString(), 'Hello, World!')
})

test('bytes that are no request cut an answer that has begun, and are not answered inside it', async () => {
  const socket = await dial(bodies.port)
  const received = collect(socket)
  socket.write('GET /stream HTTP/1.1\r\nHost: test\r\n\r\n')
  await once(socket, 'data')
  socket.write('hello\r\n\r\n')
  const bytes = await received
  const [answer] = readAnswers(bytes)
  assert.deepEqual([answer!.status, answer!.whole], [200, false])
  assert.doesNotMatch(bytes.toString().slice(20), /HTTP\/1\.1/)
  await assertAlive()
})

/** A server that gives a head 200 ms to arrive, and a body as long; it looks for late heads all the time. */
const hurried = async (t: TestContext): Promise<Listening> => {
  const app = assemble({ headers: ['Server', 'test'] }, [({ router }) => routes(router)], undefined)
  app.bodyTimeoutMs = 200
  const limits = { requestTimeout: 0, headersTimeout: 200, connectionsCheckingInterval: 20 }
  const at = await listen(app.callback(), limits)
  at.server.on('clientError', answerUnreadable(app))
  t.after(() => at[Symbol.asyncDispose]())
  return at
}

test('headers that are slow to come are a 408', async (t) => {
  const { port } = await hurried(t)
  assertProblem(readAnswers(await exchange(port, 'GET /ok HTTP/1.1\r\nHost: te'))[0], 408, 'request-timeout')
})

test('a body that is slow to come is a 408, and has no effect if it comes after all', async (t) => {
  const { port } = await hurried(t)
  const socket = await dial(port)
  const received = collect(socket)
  socket.write(
    requestBytes('/bodies', { method: 'POST', headers: { ...json, 'Content-Length': '12' }, body: '{"name"' }),
  )
  await once(socket, 'data')
  socket.write(':"x"}')
  const answers = readAnswers(await received)
  assert.equal(answers.length, 1)
  assertProblem(answers[0], 408, 'request-timeout')
  await sleep(20)
  assert.equal(read, 0)
})

test('a body that nobody waits for has as long to come after its answer, and then its connection is cut', async (t) => {
  const { port, server } = await hurried(t)
  for (const target of ['/ok', '/nothing']) {
    const socket = await dial(port)
    const received = collect(socket)
    socket.write(
      requestBytes(target, { method: 'POST', headers: { 'Content-Length': '12', Connection: 'keep-alive' } }),
    )
    const start = performance.now()
    const answers = readAnswers(await received)
    const tookMs = performance.now() - start
    assert.deepEqual([answers.length, answers[0]!.whole], [1, true])
    assert.ok(tookMs > 150 && tookMs < 2_000, `${tookMs} ms`)
  }
  await until('no connection', () => connectionsOf(server).then((count) => count === 0))
})

test('a connection whose bodies come in time is not cut', async (t) => {
  const { port } = await hurried(t)
  const socket = await dial(port)
  const received = collect(socket)
  const head = 'POST /nothing HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nab'
  for (let i = 0; i < 4; i += 1) {
    socket.write(head)
    await sleep(80)
    socket.write('cd')
  }
  socket.write(requestBytes('/ok'))
  assert.deepEqual(
    readAnswers(await received).map(({ status }) => status),
    [404, 404, 404, 404, 200],
  )
})

test('an expectation that nobody can meet is a 417', async () => {
  const answer = await request(service.port, '/json', { headers: { Expect: 'the-moon' } })
  assertProblem(answer, 417, 'expectation-failed')
})

test('the body behind an expectation that nobody can meet is not waited for', async () => {
  const socket = await dial(service.port)
  const received = collect(socket)
  socket.write('POST /items HTTP/1.1\r\nHost: test\r\nExpect: the-moon\r\nContent-Length: 1000\r\n\r\nfirst')
  const [answer] = readAnswers(await received)
  assertProblem(answer, 417, 'expectation-failed')
})

test('an expectation that nobody can meet is counted as any other request', async () => {
  const counted = async (): Promise<number> => {
    const metrics = await service.service.telemetry!.collect()
    const { values } = metrics.find(({ name }) => name === 'http_server_request_duration_seconds') ?? { values: [] }
    const counts = values.filter(
      ({ metricName, labels }) => metricName!.endsWith('_count') && labels['http_response_status_class'] === '4xx',
    )
    return counts.reduce((sum, { value }) => sum + value, 0)
  }
  const before = await counted()
  await request(service.port, '/json', { headers: { Expect: 'the-moon' } })
  assert.equal(await counted(), before + 1)
})

test('what is no request is counted by what it was told', async () => {
  const counted = async (): Promise<number> => {
    const metrics = await service.service.telemetry!.collect()
    const { values } = metrics.find(({ name }) => name === 'plimsoll_problems_total') ?? { values: [] }
    return values.find(({ labels }) => labels['code'] === 'malformed-request')?.value ?? 0
  }
  const before = await counted()
  await exchange(service.port, 'no HTTP at all\r\n\r\n')
  assert.equal(await counted(), before + 1)
})

test('no bytes whatever make the service fail or hang', async () => {
  const whole = requestBytes('/work/wait?ms=1', { headers: { 'X-Request-Id': 'a', Accept: '*/*' } })
  const damage = fc.record({
    at: fc.nat(whole.length),
    removed: fc.nat(20),
    added: fc.oneof(
      fc.uint8Array({ maxLength: 12 }),
      fc.constantFrom('\r\n', '\r\n\r\n', ' ', ':', '%', '\0').map((text) => Buffer.from(text)),
    ),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(damage, { minLength: 1, maxLength: 3 }), async (damages) => {
      let bytes = whole
      for (const { at, removed, added } of damages) {
        bytes = Buffer.concat([bytes.subarray(0, at), added, bytes.subarray(at + removed)])
      }
      const socket = await dial(service.port)
      const received = collect(socket)
      socket.end(bytes)
      for (const { status } of readAnswers(await received)) assert.ok(status < 500 || status === 501, String(status))
    }),
    { seed: 2026, numRuns: 300 },
  )
  assert.equal((await request(service.port, '/json')).status, 200)
})
