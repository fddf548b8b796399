import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import fc from 'fast-check'
import httpErrors from 'http-errors'
import { problems, type ProblemCode } from '../../../src/contract/problems.ts'
import { Failure, InputError } from '../../../src/kit/errors.ts'
import { assemble } from '../../../src/service/app.ts'
import type { ServiceContext } from '../../../src/service/http/lean-koa.ts'
import { HttpFailure, type ProblemDetails } from '../../../src/service/http/problem.ts'
import { listen, type Listening, type RawAnswer, request, type RawRequest } from '../../support/http.ts'

let at: Listening
let handle: (ctx: ServiceContext) => void | Promise<void>
const reported: unknown[] = []

before(async () => {
  const app = assemble(
    { headers: ['Server', 'test'] },
    [({ router }) => void router.get('/fail', (ctx) => handle(ctx))],
    undefined,
  )
  app.on('error', (error: unknown) => reported.push(error))
  at = await listen(app.callback())
})
after(() => at[Symbol.asyncDispose]())
beforeEach(() => {
  reported.length = 0
})

type Problem = { readonly answer: RawAnswer; readonly details: ProblemDetails }

const answerTo = async (thrown: unknown, options: RawRequest = {}): Promise<Problem> => {
  handle = () => {
    throw thrown
  }
  const answer = await request(at.port, '/fail', options)
  return { answer, details: JSON.parse(answer.body.toString()) as ProblemDetails }
}

const codes = Object.keys(problems) as ProblemCode[]

for (const code of codes) {
  test(`${code} is a problem of status ${problems[code].status}`, async () => {
    const { answer, details } = await answerTo(new Failure(code, { detail: 'this one' }))
    const { status, title } = problems[code]
    const requestId = answer.header('X-Request-Id')
    assert.equal(answer.status, status)
    assert.equal(answer.header('Content-Type'), 'application/problem+json')
    assert.equal(answer.header('Cache-Control'), 'no-store')
    assert.equal(answer.header('Server'), 'test')
    assert.deepEqual(details, { type: `/problems/${code}`, title, status, code, detail: 'this one', requestId })
  })
}

test('a failure of no registered code is an internal error, reported and not told', async () => {
  for (const code of ['nonsense', 'toString', '__proto__', 'constructor']) {
    const { answer, details } = await answerTo(new Failure(code, { detail: 'canary' }))
    assert.deepEqual([answer.status, details.code, details.detail], [500, 'internal-error', undefined], code)
  }
  assert.equal(reported.length, 4)
})

test('an unknown error is a 500 that tells nothing of it, and is reported whole', async () => {
  const cause = new Error('canary-cause')
  class Odd extends Error {
    readonly status = 418
    readonly headers = { 'X-Canary': 'canary-header' }
    readonly code = 'canary-code'
  }
  for (const thrown of [
    new Error('canary-message', { cause }),
    new Odd('canary-message'),
    Object.assign(new Error('canary-message'), { statusCode: 400, expose: true }),
    httpErrors(500, 'canary-message', { expose: true }),
    httpErrors(503, 'canary-message'),
    'canary-text',
    { message: 'canary-object' },
    null,
    undefined,
  ]) {
    reported.length = 0
    const { answer, details } = await answerTo(thrown)
    const { type, title, status, code } = details
    assert.equal(answer.status, 500)
    assert.deepEqual(
      [type, title, status, code],
      ['/problems/internal-error', problems['internal-error'].title, 500, 'internal-error'],
    )
    assert.doesNotMatch(`${JSON.stringify(answer.headers)}${answer.body.toString()}`, /canary/)
    assert.equal(reported.length, 1)
    assert.ok(reported[0] instanceof Error)
  }
})

test('an expected failure is not reported as an error', async () => {
  for (const thrown of [new Failure('not-found'), new InputError([]), httpErrors(404)]) await answerTo(thrown)
  assert.deepEqual(reported, [])
})

test('an InputError lists each mistake with field, value, what is accepted, and all in words', async () => {
  const { answer, details } = await answerTo(
    new InputError([
      { field: 'ms', value: 'x', accepted: 'a number' },
      { field: 'mb', value: undefined, accepted: 'a number' },
    ]),
  )
  assert.deepEqual([answer.status, details.code], [400, 'invalid-request'])
  assert.equal(details.detail, 'ms: got "x"; accepted: a number; mb: missing; accepted: a number')
  assert.deepEqual(details.errors, [
    { field: 'ms', value: 'x', accepted: 'a number', detail: 'ms: got "x"; accepted: a number' },
    { field: 'mb', accepted: 'a number', detail: 'mb: missing; accepted: a number' },
  ])
})

test('a long value is not sent back whole', async () => {
  const { answer, details } = await answerTo(
    new InputError([{ field: 'ms', value: '1'.repeat(100_000), accepted: 'less' }]),
  )
  assert.ok(answer.body.length < 1_500, `${answer.body.length} bytes`)
  assert.match(String(details.errors?.[0]?.value), /^1{200}…$/)
})

test('an error of http-errors keeps its status, and its message where that may be shown', async () => {
  for (const [error, code, detail] of [
    [httpErrors(413, 'too large'), 'body-too-large', 'too large'],
    [httpErrors(415, 'what is this'), 'unsupported-media-type', 'what is this'],
    [httpErrors(400, 'request aborted'), 'malformed-request', 'request aborted'],
    [httpErrors(400, 'canary', { expose: false }), 'malformed-request', undefined],
  ] as const) {
    const { answer, details } = await answerTo(error)
    assert.deepEqual([answer.status, details.code, details.detail], [error.status, code, detail])
  }
})

test('Retry-After is told in whole seconds, rounded up', async () => {
  for (const [retryAfterSeconds, header] of [
    [1, '1'],
    [1.2, '2'],
    [0, '0'],
    [undefined, undefined],
  ] as const) {
    const { answer } = await answerTo(
      new Failure('threads-busy', { ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) }),
    )
    assert.deepEqual([answer.status, answer.header('Retry-After')], [503, header])
  }
})

test('a failure may bring headers', async () => {
  const { answer, details } = await answerTo(new HttpFailure('method-not-allowed', { Allow: 'GET' }, 'not that'))
  assert.deepEqual([answer.status, answer.header('Allow'), details.detail], [405, 'GET', 'not that'])
})

const uuid = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/

test("a caller's request id comes back when it is harmless, and a new one otherwise", async () => {
  const visible = fc.stringMatching(/^[\x21-\x7e\x80-\xff]{1,140}$/)
  const id = fc.oneof(
    visible,
    fc.stringMatching(/^[\w.:-]{1,140}$/),
    fc.constantFrom('a', 'a'.repeat(128), 'a'.repeat(129), '<script>'),
  )
  await fc.assert(
    fc.asyncProperty(id, async (given) => {
      const { answer, details } = await answerTo(new Failure('not-found'), { headers: { 'X-Request-Id': given } })
      assert.equal(answer.header('X-Request-Id'), details.requestId)
      if (/^[\w.:-]{1,128}$/.test(given)) assert.equal(details.requestId, given)
      else assert.match(details.requestId, uuid)
    }),
    { seed: 2026, numRuns: 150 },
  )
})

test('requests without an id get one each', async () => {
  const [a, b] = [await answerTo(new Failure('not-found')), await answerTo(new Failure('not-found'))]
  assert.match(a.details.requestId, uuid)
  assert.notEqual(a.details.requestId, b.details.requestId)
})

test('a problem replaces what was prepared before it, headers included', async () => {
  handle = (ctx) => {
    ctx.set('X-Half', '1')
    ctx.set('Content-Encoding', 'gzip')
    ctx.reply(200, 'text/plain', 'half')
    throw new Failure('conflict')
  }
  const answer = await request(at.port, '/fail')
  assert.equal(answer.status, 409)
  assert.deepEqual([answer.header('X-Half'), answer.header('Content-Encoding')], [undefined, undefined])
})

const withoutDate = ({ headers }: RawAnswer): unknown => headers.filter(([name]) => name !== 'Date')

test('a problem asked for with HEAD has the same headers and no body', async () => {
  const options = { headers: { 'X-Request-Id': 'same' } }
  const get = await answerTo(new Failure('conflict'), options)
  const head = await request(at.port, '/fail', { ...options, method: 'HEAD' })
  assert.deepEqual(withoutDate(head), withoutDate(get.answer))
  assert.equal(head.body.length, 0)
})

test('an error after the headers were sent cuts the connection, and is reported', async () => {
  handle = async (ctx) => {
    ctx.res.writeHead(200, { 'Content-Length': 100 })
    await new Promise((resolve) => ctx.res.write('half', resolve))
    throw new Error('canary')
  }
  const answer = await request(at.port, '/fail')
  assert.deepEqual([answer.status, answer.body.toString(), answer.whole], [200, 'half', false])
  assert.equal(reported.length, 1)
})

test('an error after the answer was ended leaves the answer whole', async () => {
  const large = 'x'.repeat(5_000_000)
  handle = (ctx) => {
    ctx.res.writeHead(200, { 'Content-Length': large.length })
    ctx.res.end(large)
    throw new Error('late')
  }
  const answer = await request(at.port, '/fail')
  assert.deepEqual([answer.status, answer.body.length, answer.whole], [200, large.length, true])
  assert.equal(reported.length, 1)
})
