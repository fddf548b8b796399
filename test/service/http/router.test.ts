import assert from 'node:assert/strict'
import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import { assemble } from '../../../src/service/app.ts'
import { LeanKoa, type ServiceContext, type ServiceMiddleware } from '../../../src/service/http/lean-koa.ts'
import { createRouter, dispatch, type ServiceRouter } from '../../../src/service/http/router.ts'
import { listen, type RawAnswer, request } from '../../support/http.ts'

const app = new LeanKoa()

const contextOf = (method: string, target: string): ServiceContext => {
  const req = new IncomingMessage(new Socket())
  req.method = method
  req.url = target
  return app.createContext(req, new ServerResponse(req)) as unknown as ServiceContext
}

/** One thing that is added to a router: a route of one or two functions, or a middleware for all or some paths. */
type Entry = {
  readonly kind: 'get' | 'post' | 'put' | 'delete' | 'use'
  readonly path: string
  readonly functions: 1 | 2
}

type Registration = (...args: unknown[]) => void

/** A router of these entries whose functions write down that they ran; the last of a route ends the list. */
const routerOf = (entries: readonly Entry[], ran: string[]): ServiceRouter => {
  const router = createRouter()
  entries.forEach(({ kind, path, functions }, index) => {
    const pass: ServiceMiddleware = (_ctx, next) => {
      ran.push(`${index} passes`)
      return next()
    }
    const end: ServiceMiddleware = () => void ran.push(`${index} ends`)
    const register = Reflect.get(router, kind) as Registration
    const list = kind === 'use' ? [pass] : [pass, end].slice(-functions)
    register.call(router, ...(path === '' ? [] : [path]), ...list)
  })
  return router
}

type Dispatched = { ran: readonly string[]; params: object; matched: unknown }

const ask = async (middleware: ServiceMiddleware, ran: string[], ctx: ServiceContext): Promise<Dispatched> => {
  ran.length = 0
  await middleware(ctx, () => Promise.resolve(void ran.push('none')))
  return { ran: [...ran], params: { ...ctx.params }, matched: ctx._matchedRoute }
}

const part = fc.constantFrom(
  'a',
  'A',
  'b',
  'json',
  'a.b',
  'a-b',
  '~a',
  '%41',
  'a b',
  'a#b',
  '\u00e9',
  "a'b",
  '@a',
  'a,b',
)
const templatePart = fc.oneof(
  { weight: 3, arbitrary: part },
  fc.constantFrom(':id', ':other', '*rest', '{b}', ':id.json'),
)
const slash = fc.constantFrom('', '', '/')
const pathOf = (parts: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.tuple(fc.array(parts, { maxLength: 3 }), slash).map(([names, end]) => `/${names.join('/')}${end}`)

const entry: fc.Arbitrary<Entry> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom('get' as const, 'post' as const, 'put' as const, 'delete' as const),
      path: pathOf(templatePart),
      functions: fc.constantFrom(1 as const, 1 as const, 2 as const),
    }),
  },
  fc.record({
    kind: fc.constant('use' as const),
    path: fc.constantFrom('', '/a', '/:any'),
    functions: fc.constant(1 as const),
  }),
)

const method = fc.constantFrom('GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'PURGE')
const target = fc
  .tuple(fc.constantFrom('', '', '', 'http://host'), pathOf(part), fc.constantFrom('', '?', '?a=/b', '?a?b', '#c'))
  .map((parts) => parts.join(''))

const spellings: readonly ((path: string) => string)[] = [
  (path) => path,
  (path) => path.toUpperCase(),
  (path) => `${path}/`,
  (path) => `${path}?x=1`,
]

/** The path of one of the entries, as it is or spelled otherwise. */
const near = (entries: readonly Entry[]): fc.Arbitrary<string> =>
  fc.tuple(fc.constantFrom(...entries), fc.constantFrom(...spellings)).map(([{ path }, spelled]) => spelled(path))

test('dispatch runs what the router itself would run, with the same parameters and the same matched route', async () => {
  const asked = fc
    .array(entry, { minLength: 1, maxLength: 8 })
    .filter(registers)
    .chain((entries) =>
      fc.tuple(
        fc.constant(entries),
        fc.array(fc.tuple(method, fc.oneof(target, near(entries))), { minLength: 5, maxLength: 20 }),
      ),
    )
  await fc.assert(
    fc.asyncProperty(asked, async ([entries, requests]) => {
      const ran: string[] = []
      const router = routerOf(entries, ran)
      const dispatched = dispatch(router)
      const routed = router.routes() as unknown as ServiceMiddleware
      for (const [method, target] of requests) {
        const fast = await ask(dispatched, ran, contextOf(method, target))
        const plain = await ask(routed, ran, contextOf(method, target))
        assert.deepEqual(fast, plain, `${method} ${target}`)
      }
    }),
    { seed: 2026, numRuns: 500 },
  )
})

/** Some lists of path parts make no template: the same name twice, for example. */
const registers = (entries: readonly Entry[]): boolean => {
  try {
    routerOf(entries, [])
    return true
  } catch {
    return false
  }
}

const counting = (
  router: ServiceRouter,
): { readonly dispatched: ServiceMiddleware; readonly matches: () => number } => {
  const dispatched = dispatch(router)
  const { match } = router
  let count = 0
  router.match = (...args) => {
    count += 1
    return match.apply(router, args)
  }
  return { dispatched, matches: () => count }
}

test('a static route is found without asking the router, a parameter or another spelling with', async () => {
  const ran: string[] = []
  const router = routerOf(
    [
      { kind: 'get', path: '/json', functions: 1 },
      { kind: 'get', path: '/items/:id', functions: 1 },
    ],
    ran,
  )
  const { dispatched, matches } = counting(router)
  for (const [method, target, expected] of [
    ['GET', '/json', 0],
    ['HEAD', '/json?a=1', 0],
    ['GET', '/JSON', 1],
    ['GET', '/json/', 2],
    ['GET', '/items/7', 3],
    ['POST', '/json', 4],
  ] as const) {
    await ask(dispatched, ran, contextOf(method, target))
    assert.equal(matches(), expected, `${method} ${target}`)
  }
})

test('a middleware of the router runs before a static route, whether it was added before or after it', async () => {
  const json: Entry = { kind: 'get', path: '/json', functions: 1 }
  const guard: Entry = { kind: 'use', path: '', functions: 1 }
  for (const [entries, expected] of [
    [
      [guard, json],
      ['0 passes', '1 ends'],
    ],
    [[json, guard], ['0 ends']],
  ] as const) {
    const ran: string[] = []
    const dispatched = await ask(dispatch(routerOf(entries, ran)), ran, contextOf('GET', '/json'))
    assert.deepEqual(dispatched.ran, expected)
  }
})

const routes = (router: ServiceRouter): void => {
  router.get('/json', (ctx) => ctx.reply(200, 'text/plain', 'static'))
  router.get('/items/:id', (ctx) => ctx.reply(200, 'text/plain', ctx.params['id']!))
  router.put('/items/:id', (ctx) => ctx.reply(200, 'text/plain', 'put'))
  router.post('/items', (ctx) => ctx.reply(201, 'text/plain', 'post'))
}

const service = async (use: (port: number) => Promise<void>): Promise<void> => {
  await using at = await listen(assemble({}, [({ router }) => routes(router)], undefined).callback())
  await use(at.port)
}

const codeOf = ({ body }: RawAnswer): string => (JSON.parse(body.toString()) as { code: string }).code

test('an unknown path is a 404, whatever the method', () =>
  service(async (port) => {
    for (const [method, path] of [
      ['GET', '/nothing'],
      ['POST', '/'],
      ['OPTIONS', '/nothing'],
      ['PURGE', '/nothing'],
      ['GET', '/items'.repeat(9)],
      ['GET', '//json'],
    ] as const) {
      const answer = await request(port, path, { method })
      assert.deepEqual([answer.status, codeOf(answer)], [404, 'not-found'], `${method} ${path}`)
      assert.equal(answer.header('Allow'), undefined)
    }
  }))

test('a method that the path does not have is a 405 with the methods that it has', () =>
  service(async (port) => {
    for (const [method, path, allow] of [
      ['POST', '/json', 'GET, HEAD, OPTIONS'],
      ['DELETE', '/JSON/', 'GET, HEAD, OPTIONS'],
      ['PATCH', '/items/1', 'GET, HEAD, OPTIONS, PUT'],
      ['GET', '/items', 'OPTIONS, POST'],
    ] as const) {
      const answer = await request(port, path, { method })
      assert.deepEqual([answer.status, codeOf(answer), answer.header('Allow')], [405, 'method-not-allowed', allow])
    }
    const head = await request(port, '/items', { method: 'HEAD' })
    assert.deepEqual([head.status, head.header('Allow')], [405, 'OPTIONS, POST'])
  }))

test('a method that no route has is a 501 with the methods of the path', () =>
  service(async (port) => {
    for (const method of ['TRACE', 'PURGE', 'PROPFIND']) {
      const answer = await request(port, '/json', { method })
      assert.deepEqual([answer.status, codeOf(answer)], [501, 'not-implemented'])
      assert.equal(answer.header('Allow'), 'GET, HEAD, OPTIONS')
    }
  }))

test('OPTIONS is answered with the methods of the path and no body', () =>
  service(async (port) => {
    for (const [path, allow] of [
      ['/json', 'GET, HEAD, OPTIONS'],
      ['/items/1', 'GET, HEAD, OPTIONS, PUT'],
    ] as const) {
      const answer = await request(port, path, { method: 'OPTIONS' })
      assert.deepEqual([answer.status, answer.header('Allow'), answer.body.length], [204, allow, 0])
      assert.equal(answer.header('Content-Length'), undefined)
    }
  }))

test('a target in absolute form is routed by its path, and one that cannot be read is a 400', () =>
  service(async (port) => {
    assert.equal((await request(port, 'http://elsewhere/json?a=1')).body.toString(), 'static')
    for (const target of ['http://[', 'http://[::1', 'http://a%/b']) {
      const answer = await request(port, target)
      assert.ok([400, 404].includes(answer.status), `${target}: ${answer.statusLine}`)
    }
    assert.equal(codeOf(await request(port, 'http://[')), 'malformed-request')
  }))

test('a parameter is decoded, and left as it is where it cannot be', () =>
  service(async (port) => {
    for (const [path, id] of [
      ['/items/a%20b', 'a b'],
      ['/items/%E4%B8%96', '\u4e16'],
      ['/items/%ff', '%ff'],
      ['/items/%', '%'],
      ['/items/__proto__', '__proto__'],
    ]) {
      assert.equal((await request(port, path!)).body.toString(), id)
    }
  }))
