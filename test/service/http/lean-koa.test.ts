import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import Koa from 'koa'
import { Failure } from '../../../src/kit/errors.ts'
import { LeanKoa, type ServiceContext } from '../../../src/service/http/lean-koa.ts'
import { answerProblem } from '../../../src/service/http/problem.ts'
import { dial, listen, type Listening, type RawAnswer, request, type RawRequest } from '../../support/http.ts'

type Middleware = Koa.Middleware

/** One application under two frameworks: what is asked of it must be answered alike. */
type Law = {
  readonly law: string
  readonly use: readonly Middleware[]
  readonly prepare?: (app: Koa) => void
  readonly request?: RawRequest
}

const put =
  (change: (ctx: Koa.Context) => unknown): Middleware =>
  (ctx) =>
    void change(ctx)

/** A middleware that notes when it is entered and left, in a header. */
const trace =
  (name: string): Middleware =>
  async (ctx, next) => {
    ctx.append('Trace', `in ${name}`)
    await next()
    ctx.append('Trace', `out ${name}`)
  }

class Teapot extends Error {
  readonly status = 418
  readonly expose = true
  readonly headers = { 'X-Pot': 'tea' }
}

const bodies: readonly Law[] = [
  { law: 'a text', use: [put((ctx) => (ctx.body = 'text, \u00e9\u4e16'))] },
  { law: 'a text that looks like HTML', use: [put((ctx) => (ctx.body = ' <p>x'))] },
  { law: 'an empty text', use: [put((ctx) => (ctx.body = ''))] },
  { law: 'a buffer', use: [put((ctx) => (ctx.body = Buffer.from([0, 255, 13, 10])))] },
  { law: 'an object', use: [put((ctx) => (ctx.body = { a: [1, null, 'x'] }))] },
  { law: 'a list', use: [put((ctx) => (ctx.body = []))] },
  { law: 'a number', use: [put((ctx) => (ctx.body = 0))] },
  { law: 'a boolean', use: [put((ctx) => (ctx.body = false))] },
  { law: 'null', use: [put((ctx) => (ctx.body = null))] },
  { law: 'undefined', use: [put((ctx) => (ctx.body = undefined))] },
  {
    law: 'null of type JSON',
    use: [
      put((ctx) => {
        ctx.type = 'json'
        ctx.body = null
      }),
    ],
  },
  {
    law: 'null with a status of its own',
    use: [
      put((ctx) => {
        ctx.body = null
        ctx.status = 201
      }),
    ],
  },
  { law: 'a stream', use: [put((ctx) => (ctx.body = Readable.from(['one', 'two'])))] },
  {
    law: 'a stream of known length and type',
    use: [
      put((ctx) => {
        ctx.type = 'text/csv'
        ctx.length = 6
        ctx.body = Readable.from(['one', 'two'])
      }),
    ],
  },
  { law: 'a web stream', use: [put((ctx) => (ctx.body = new Blob(['web']).stream()))] },
  { law: 'a blob', use: [put((ctx) => (ctx.body = new Blob(['blob'], { type: 'text/x-blob' })))] },
  {
    law: 'a Response',
    use: [put((ctx) => (ctx.body = new Response('made', { status: 202, headers: { 'X-Made': 'yes' } })))],
  },
  {
    law: 'a stream replaced by a text',
    use: [
      put((ctx) => {
        ctx.body = Readable.from(['one'])
        ctx.body = 'two'
      }),
    ],
  },
]

const statuses: readonly Law[] = [
  { law: 'no answer at all', use: [] },
  ...[200, 201, 202, 204, 205, 299, 304, 400, 404, 418, 499, 500, 503].flatMap((status): Law[] => [
    { law: `status ${status} without a body`, use: [put((ctx) => (ctx.status = status))] },
    {
      law: `status ${status} before a body`,
      use: [
        put((ctx) => {
          ctx.status = status
          ctx.body = 'x'
        }),
      ],
    },
    {
      law: `status ${status} after a body`,
      use: [
        put((ctx) => {
          ctx.body = { a: 1 }
          ctx.status = status
        }),
      ],
    },
  ]),
  {
    law: 'a message of its own',
    use: [
      put((ctx) => {
        ctx.status = 200
        ctx.message = 'Fine'
      }),
    ],
  },
  {
    law: 'a status set on the raw response',
    use: [put((ctx) => (ctx.res.statusCode = 202))],
  },
]

const headers: readonly Law[] = [
  {
    law: 'type, length and a header set before the body',
    use: [
      put((ctx) => {
        ctx.type = 'png'
        ctx.length = 99
        ctx.set('X-Early', '1')
        ctx.body = 'abc'
      }),
    ],
  },
  {
    law: 'type and headers set after the body',
    use: [
      put((ctx) => {
        ctx.body = 'abc'
        ctx.type = 'application/xml'
        ctx.set({ 'X-Late': '1', 'X-More': ['a', 'b'] as never })
        ctx.append('X-Late', '2')
        ctx.remove('X-More')
      }),
    ],
  },
  {
    law: 'ETag, Last-Modified, Vary and an attachment',
    use: [
      put((ctx) => {
        ctx.etag = 'abc'
        ctx.lastModified = new Date(0)
        ctx.vary('Accept')
        ctx.attachment('a \u00e9.txt')
        ctx.body = 'x'
      }),
    ],
  },
  { law: 'a redirect', use: [put((ctx) => ctx.redirect('/there?a=<b>'))] },
  {
    law: 'a redirect as text',
    use: [put((ctx) => ctx.redirect('/there'))],
    request: { headers: { Accept: 'text/plain' } },
  },
  {
    law: 'a redirect with a status of its own',
    use: [
      put((ctx) => {
        ctx.status = 308
        ctx.redirect('https://example.org/a b')
      }),
    ],
  },
  {
    law: 'cookies',
    use: [
      put((ctx) => {
        ctx.cookies.set('a', `was ${ctx.cookies.get('b')}`)
        ctx.body = 'x'
      }),
    ],
    request: { headers: { Cookie: 'b=1' } },
  },
  {
    law: 'what the request says',
    use: [
      put((ctx) => {
        const { method, url, path, query, querystring, search, host, hostname, href, origin, ip, secure, protocol } =
          ctx
        const asked = {
          is: ctx.is('json'),
          accepts: ctx.accepts('html', 'json'),
          get: ctx.get('x-in'),
          idempotent: ctx.idempotent,
        }
        const own = ctx.request.header['x-in'] === ctx.headers['x-in'] && ctx.request.ctx === ctx
        const linked = ctx.request.response === ctx.response && ctx.response.request === ctx.request
        const whole = host === ctx.request.host && href.startsWith(origin) && ip === ctx.request.ip
        const sameApp = ctx.app === ctx.request.app && ctx.app === ctx.response.app
        const sameRaw = ctx.req === ctx.request.req && ctx.res === ctx.response.res
        const same = [own, linked, whole, sameApp, sameRaw, ctx.originalUrl === ctx.request.originalUrl]
        ctx.body = { method, url, path, query, querystring, search, hostname, secure, protocol, ...asked, same }
      }),
    ],
    request: { headers: { 'X-In': 'in', Accept: 'application/json' } },
  },
  {
    law: 'a rewritten target',
    use: [
      (ctx, next) => {
        ctx.path = '/other'
        ctx.query = { b: '2' }
        return next()
      },
      put((ctx) => (ctx.body = [ctx.url, ctx.originalUrl, ctx.req.url])),
    ],
  },
  {
    law: 'the context as JSON',
    use: [put((ctx) => (ctx.body = { keys: Object.keys(ctx.toJSON()), shown: ctx.response }))],
  },
]

const order: readonly Law[] = [
  {
    law: 'middleware runs inwards, then outwards',
    use: [trace('a'), trace('b'), put((ctx) => (ctx.body = 'x')), trace('never')],
  },
  {
    law: 'state is passed on',
    use: [
      async (ctx, next) => {
        ctx.state['user'] = 'ann'
        await next()
        ctx.body = `${ctx.body} of ${ctx.state['user']}`
      },
      put((ctx) => (ctx.body = Object.keys(ctx.state))),
    ],
  },
  {
    law: 'state can be replaced',
    use: [
      put((ctx) => {
        ctx.state = { a: 1 }
        ctx.body = ctx.state
      }),
    ],
  },
  {
    law: 'an outer middleware changes the answer',
    use: [
      async (ctx, next) => {
        await next()
        ctx.status = 203
        ctx.type = 'text/x-outer'
        ctx.body = `<${ctx.body}>`
      },
      put((ctx) => (ctx.body = 'x')),
    ],
  },
  {
    law: 'the prototypes of context, request and response are extended',
    prepare: (app) => {
      Object.assign(app.context, { greet: () => 'hello', onlyContext: 1 })
      Object.defineProperty(app.request, 'shout', { get: () => 'HEY' })
      Object.assign(app.response, { answer: 42 })
    },
    use: [
      put((ctx) => {
        const { request, response } = ctx as unknown as Record<'request' | 'response', Record<string, unknown>>
        ctx.body = [ctx['greet'](), ctx['onlyContext'], request['shout'], response['answer'], request['greet']]
      }),
    ],
  },
]

const failures: readonly Law[] = [
  {
    law: 'an outer middleware catches what an inner one throws',
    use: [
      async (ctx, next) => {
        try {
          await next()
        } catch (error) {
          ctx.status = 409
          ctx.body = (error as Error).message
        }
      },
      put(() => {
        throw new Error('inner')
      }),
    ],
  },
  { law: 'ctx.throw with a message that may be shown', use: [put((ctx) => ctx.throw(403, 'not yours'))] },
  { law: 'ctx.throw of 500', use: [put((ctx) => ctx.throw(500, 'secret'))] },
  { law: 'ctx.assert', use: [put((ctx) => ctx.assert(false, 401, 'who?'))] },
  {
    law: 'an error with a status and headers, after half an answer was set',
    use: [
      put((ctx) => {
        ctx.set('X-Gone', '1')
        ctx.body = 'half'
        throw new Teapot('short and stout')
      }),
    ],
  },
  {
    law: 'a plain error',
    use: [
      put(() => {
        throw new Error('secret')
      }),
    ],
  },
  { law: 'a thrown text', use: [() => Promise.reject('text')] },
  {
    law: 'next() called twice',
    use: [async (_ctx, next) => void (await next(), await next()), put((ctx) => (ctx.body = 'x'))],
  },
  { law: 'a status that is none', use: [put((ctx) => (ctx.status = 1000))] },
  { law: 'a body that is no JSON', use: [put((ctx) => (ctx.body = { big: 1n }))] },
  {
    law: 'ctx.respond = false',
    use: [
      (ctx) => {
        ctx.respond = false
        ctx.body = 'not this'
        ctx.res.writeHead(207, { 'X-Raw': '1', 'Content-Length': 3 })
        ctx.res.end('raw')
      },
    ],
  },
  {
    law: 'an answer that was ended by hand',
    use: [
      put((ctx) => {
        ctx.res.end('by hand')
        ctx.body = 'not this'
      }),
    ],
  },
  {
    law: 'an error after an answer was ended by hand',
    use: [
      put((ctx) => {
        ctx.res.end('by hand')
        throw new Error('late')
      }),
    ],
  },
  {
    law: 'a stream that fails before its first byte',
    use: [
      put((ctx) => {
        ctx.body = new Readable({
          read() {
            this.destroy(new Error('torn'))
          },
        })
      }),
    ],
  },
]

/** What must be the same: all of the answer but when it was given, and in which order the headers stand. */
const comparable = ({ statusLine, headers, body, whole }: RawAnswer): object => ({
  statusLine,
  headers: headers.filter(([name]) => name !== 'Date').toSorted(([a], [b]) => (a < b ? -1 : 1)),
  body: body.toString('latin1'),
  whole,
})

const noAnswer = (error: Error): object => ({ message: error.message })

type Outcome = { readonly answer: object; readonly errors: readonly string[] }

const outcome = async (app: Koa, { use, prepare, request: asked }: Law, method: string): Promise<Outcome> => {
  const errors: string[] = []
  app.on('error', (error: unknown) => errors.push(error instanceof Error ? error.message : String(error)))
  prepare?.(app)
  for (const middleware of use) app.use(middleware)
  await using at = await listen(app.callback())
  const answer = await request(at.port, '/path?a=1', { ...asked, method }).then(comparable, noAnswer)
  return { answer, errors }
}

for (const law of [...bodies, ...statuses, ...headers, ...order, ...failures]) {
  test(`the lean application answers as Koa does: ${law.law}`, async () => {
    for (const method of ['GET', 'HEAD']) {
      const [koa, lean] = await Promise.all([outcome(new Koa(), law, method), outcome(new LeanKoa(), law, method)])
      assert.deepEqual(lean.answer, koa.answer, method)
      // The message for what is no error is ours.
      assert.equal(lean.errors.length, koa.errors.length, method)
    }
  })
}

const torn: Middleware = (ctx) => {
  ctx.body = Readable.from(
    (async function* () {
      yield 'first'
      await sleep(20)
      throw new Error('torn')
    })(),
  )
}

test('a stream that fails midway cuts the connection, as with Koa', async () => {
  for (const app of [new Koa(), new LeanKoa()]) {
    const errors: string[] = []
    app.on('error', (error: Error) => errors.push(error.message))
    app.use(torn)
    await using at = await listen(app.callback())
    const answer = await request(at.port, '/')
    assert.deepEqual([answer.status, answer.body.toString(), answer.whole], [200, 'first', false])
    assert.deepEqual(errors, ['torn'])
  }
})

for (const thrown of [null, undefined, 'text', 7, Symbol('s'), 1n, { toJSON: () => assert.fail('looked into') }]) {
  test(`throwing ${typeof thrown === 'object' ? JSON.stringify(thrown && {}) : String(thrown)} is a 500, not a hang`, async () => {
    const app = new LeanKoa()
    const errors: unknown[] = []
    app.on('error', (error: unknown) => errors.push(error))
    app.use(() => Promise.reject(thrown))
    await using at = await listen(app.callback())
    const answer = await request(at.port, '/')
    assert.equal(answer.status, 500)
    assert.ok(errors.length === 1 && errors[0] instanceof Error)
  })
}

test('clients that leave during the work disturb neither the application nor the next request', async () => {
  for (const kind of ['reply', 'body', 'stream'] as const) {
    const app = new LeanKoa()
    const errors: unknown[] = []
    app.on('error', (error: unknown) => errors.push(error))
    const entered = Promise.withResolvers<void>()
    const left = Promise.withResolvers<void>()
    app.use(async (ctx) => {
      if (ctx.path === '/leave') {
        entered.resolve()
        await once(ctx.res, 'close')
      }
      if (kind === 'reply') (ctx as unknown as ServiceContext).reply(200, 'text/plain', 'late')
      else ctx.body = kind === 'body' ? 'late' : Readable.from(['late'])
      if (ctx.path === '/leave') setImmediate(left.resolve)
    })
    await using at = await listen(app.callback())
    const client = await dial(at.port)
    client.write('GET /leave HTTP/1.1\r\nHost: test\r\n\r\n')
    await entered.promise
    client.destroy()
    await left.promise
    const answer = await request(at.port, '/stay')
    assert.deepEqual([answer.status, answer.body.toString()], [200, 'late'])
    assert.deepEqual(errors, [])
  }
})

test('a client that leaves during a stream ends the stream', async () => {
  const app = new LeanKoa()
  app.silent = true
  const endless = new Readable({
    read() {
      this.push(Buffer.alloc(1024))
    },
  })
  app.use((ctx) => void (ctx.body = endless))
  await using at = await listen(app.callback())
  const client = await dial(at.port)
  client.write('GET / HTTP/1.1\r\nHost: test\r\n\r\n')
  await once(client, 'data')
  const closed = once(endless, 'close').catch(() => {})
  client.destroy()
  await closed
  assert.equal(endless.destroyed, true)
})

// From here on: answers handed over as ready bytes, compared between the two ways of writing them.

const standardHeaders = ['Server', 'test', 'Plimsoll-Instance', 'one']

type Program = (ctx: ServiceContext) => void

/** The same middleware, exchanged from request to request, behind an application of each kind. */
class Pair implements AsyncDisposable {
  program: readonly [before: Program, handle: Program, after: Program] = [idle, idle, idle]
  readonly errors: string[] = []
  readonly #listening: Promise<readonly [Listening, Listening]>

  constructor() {
    this.#listening = Promise.all([this.#listen('direct'), this.#listen('koa')])
  }

  async answers(method: string): Promise<readonly [direct: RawAnswer, koa: RawAnswer]> {
    const [direct, koa] = await this.#listening
    return [await request(direct.port, '/', { method }), await request(koa.port, '/', { method })]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const at of await this.#listening) await at[Symbol.asyncDispose]()
  }

  #listen(replies: 'direct' | 'koa'): Promise<Listening> {
    const app = new LeanKoa({ headers: standardHeaders, replies })
    app.on('error', (error: Error) => this.errors.push(error.message))
    app.use(async (ctx, next) => {
      const [before, , after] = this.program
      before(ctx as unknown as ServiceContext)
      await next()
      after(ctx as unknown as ServiceContext)
    })
    app.use((ctx) => this.program[1](ctx as unknown as ServiceContext))
    return listen(app.callback())
  }
}

const idle: Program = () => {}

let pair: Pair
before(() => {
  pair = new Pair()
})
after(() => pair[Symbol.asyncDispose]())

/** Everything but Date, in the order of the wire. */
const wire = ({ statusLine, headers, body, whole }: RawAnswer): object => ({
  statusLine,
  headers: headers.filter(([name]) => name !== 'Date'),
  body: body.toString('latin1'),
  whole,
})

const anyStatus = fc.oneof(fc.integer({ min: 200, max: 599 }), fc.constantFrom(200, 204, 205, 304, 404))
const anyBody = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.uint8Array().map((bytes) => Buffer.from(bytes)),
)
const anyReply: fc.Arbitrary<Program> = fc
  .tuple(anyStatus, fc.constantFrom('text/plain', 'application/json'), anyBody, fc.array(fc.constantFrom('a', 'b')))
  .map(([status, type, body, more]) => {
    const extra = [...new Set(more)].flatMap((value) => [`X-${value}`, value])
    return named(`reply(${status}, ${type}, ${JSON.stringify(body)}, ${extra.join(' ')})`, (ctx) =>
      ctx.reply(status, type, body, extra),
    )
  })

const named = (name: string, program: Program): Program => Object.assign(program, { [fc.toStringMethod]: () => name })

const changes: readonly Program[] = [
  named('read status', (ctx) => void ctx.status),
  named('read body', (ctx) => void ctx.body),
  named('status 202', (ctx) => void (ctx.status = 202)),
  named('status 204', (ctx) => void (ctx.status = 204)),
  named('body text', (ctx) => void (ctx.body = 'text')),
  named('body object', (ctx) => void (ctx.body = { a: 1 })),
  named('body null', (ctx) => void (ctx.body = null)),
  named('body stream', (ctx) => void (ctx.body = Readable.from(['a', 'b']))),
  named('type html', (ctx) => void (ctx.type = 'html')),
  named('set X-a', (ctx) => ctx.set('X-a', 'changed')),
  named('append X-b', (ctx) => ctx.append('X-b', 'more')),
  named('remove X-a', (ctx) => ctx.remove('X-a')),
  named('redirect', (ctx) => ctx.redirect('/elsewhere')),
  named('throw', (ctx) => ctx.throw(409, 'conflict')),
]
const anyChange = fc.constantFrom(...changes)
const anyProgram = fc
  .array(fc.oneof({ weight: 2, arbitrary: anyChange }, { weight: 1, arbitrary: anyReply }), { maxLength: 3 })
  .map((steps) =>
    named(steps.map((step) => fc.stringify(step)).join(', '), (ctx) => steps.forEach((step) => step(ctx))),
  )

test('a prepared reply is written byte for byte as Koa writes the same answer', async () => {
  await fc.assert(
    fc.asyncProperty(anyReply, fc.constantFrom('GET', 'HEAD'), async (reply, method) => {
      pair.program = [idle, reply, idle]
      const [direct, koa] = await pair.answers(method)
      assert.deepEqual(wire(direct), wire(koa))
    }),
    { seed: 2026, numRuns: 150 },
  )
})

test('whatever happens before and after a prepared reply has the effect that it has under Koa', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(anyProgram, anyReply, anyProgram),
      fc.constantFrom('GET', 'HEAD'),
      async (program, method) => {
        pair.program = program
        const [direct, koa] = await pair.answers(method)
        assert.deepEqual(comparable(direct), comparable(koa))
      },
    ),
    { seed: 2026, numRuns: 300 },
  )
})

test('a prepared reply carries the standard headers of the moment it is written', async () => {
  const app = new LeanKoa({ headers: ['Server', 'test'] })
  app.use((ctx) => {
    if (ctx.path === '/last') app.standardHeaders = [...app.standardHeaders, 'X-Last', 'yes']
    const service = ctx as unknown as ServiceContext
    service.reply(200, 'text/plain', 'x')
  })
  await using at = await listen(app.callback())
  assert.equal((await request(at.port, '/')).header('X-Last'), undefined)
  assert.equal((await request(at.port, '/last')).header('X-Last'), 'yes')
})

test('ctx.respond = false leaves the answer to the middleware, also after a prepared reply', async () => {
  pair.program = [
    idle,
    (ctx) => ctx.reply(200, 'text/plain', 'prepared'),
    (ctx) => {
      ctx.respond = false
      setTimeout(() => ctx.res.end('by hand!'), 10)
    },
  ]
  for (const answer of await pair.answers('GET')) assert.equal(answer.body.toString(), 'by hand!')
})

test('a header that cannot be sent is an error of the handler in both modes', async () => {
  pair.errors.length = 0
  pair.program = [idle, (ctx) => ctx.reply(200, 'text/plain', 'x', ['X-Bad', 'a\r\nb: c']), idle]
  const [direct, koa] = await pair.answers('GET')
  assert.deepEqual([direct.status, koa.status], [500, 500])
  assert.equal(direct.header('b'), undefined)
  assert.equal(pair.errors.length, 2)
})

test('extra headers go with every answer to their request, and with no other', async () => {
  const answers: Record<string, (ctx: ServiceContext) => void> = {
    '/prepared': (ctx) => ctx.reply(200, 'text/plain', 'x', ['X-Own', '1']),
    '/body': (ctx) => void (ctx.body = 'x'),
    '/nothing': () => {},
    '/problem': () => {
      throw new Failure('conflict')
    },
  }
  const app = new LeanKoa({ headers: ['Server', 'test'] })
  app.context.onerror = answerProblem
  app.use((ctx: ServiceContext) => {
    if (ctx.req.headers['x-plain'] === undefined) ctx.extraHeaders = ['X-Extra', '1', 'X-More', '2']
    answers[ctx.req.url!]!(ctx)
  })
  await using at = await listen(app.callback())
  for (const target of Object.keys(answers)) {
    const { headers } = await request(at.port, target)
    const extra = headers.filter(([name]) => /^(x-extra|x-more|server)$/i.test(name))
    assert.deepEqual(Object.fromEntries(extra), { 'X-Extra': '1', 'X-More': '2', Server: 'test' }, target)
    assert.equal(extra.length, 3, target)
    assert.equal((await request(at.port, target, { headers: { 'X-Plain': '1' } })).header('X-Extra'), undefined)
  }
})
