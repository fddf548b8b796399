import assert from 'node:assert/strict'
import { after, mock, test } from 'node:test'
import { Validator } from '@seriousme/openapi-schema-validator'
import pino from 'pino'
import { problems } from '../../src/contract/problems.ts'
import { processClock } from '../../src/kit/timers.ts'
import { parseConfig } from '../../src/service/config.ts'
import { migrate } from '../../src/service/db/migrate.ts'
import { type Answer, Api, type Content, type DescribedOperation } from '../../src/service/http/api.ts'
import { docsFiles } from '../../src/service/http/docs-page.ts'
import { problemSchema } from '../../src/service/http/openapi.ts'
import { runService } from '../../src/service/run.ts'
import { localEnv } from '../support/env.ts'
import { freshDatabase, makeTestFolder } from '../support/postgres.ts'
import { testBuild } from '../support/service.ts'
import { until } from '../support/until.ts'

/** A whole service as it runs, with both of its ports, and the routes that each of them has. */
type Running = {
  readonly url: string
  readonly adminUrl: string
  readonly api: Api
  readonly admin: Api
}

const token = 'a-token-for-the-test'

const start = async (): Promise<Running> => {
  const databaseUrl = await freshDatabase()
  await migrate(databaseUrl)
  const env = {
    ...localEnv,
    THREADS: '1',
    DATABASE_URL: databaseUrl,
    UPLOADS: `${await makeTestFolder()}/uploads`,
    PRIORITY_HEADER: 'x-priority',
    RATE_LIMIT: '100000/s',
    RATE_LIMIT_KEYS: 'team:a-key-of-a-team',
    ADMIN_TOKEN: token,
  }
  const ports: Record<string, number> = {}
  const log = pino({ level: 'info' }, { write: (line) => note(JSON.parse(line) as Record<string, unknown>) })
  const note = ({ msg, port }: Record<string, unknown>): void => void (ports[String(msg)] = Number(port))
  const stop = new AbortController()
  const spy = mock.method(Api.prototype, 'get')
  const config = parseConfig(env, testBuild)
  const ended = runService({ config, env: {}, signal: stop.signal, log, clock: processClock, random: Math.random })
  after(async () => {
    stop.abort()
    await ended
  })
  await until('both ports listen', () => 'listening' in ports && 'admin listening' in ports)
  spy.mock.restore()
  const [api, admin] = new Set(spy.mock.calls.map((call) => call.this as Api))
  const adminUrl = `http://127.0.0.1:${ports['admin listening']}`
  await until('ready', async () => (await fetch(`${adminUrl}/readyz`)).ok)
  return { url: `http://127.0.0.1:${ports['listening']}`, adminUrl, api: api!, admin: admin! }
}

const service = await start()
const limits = { timeout: 60_000 }

/** Makes a resource with a POST; returns its id. */
const make = async (target: string, type: string, body: string): Promise<string> => {
  const answer = await fetch(service.url + target, { method: 'POST', headers: { 'content-type': type }, body })
  const { id } = (await answer.json()) as { readonly id: string }
  assert.match(id, /^[\w-]{36}$/, target)
  return id
}

const item = await make('/items', 'application/json', '{"name":"one"}')
const upload = await make('/uploads', 'text/plain', 'some bytes')

type Response = { readonly $ref?: string; readonly content?: Record<string, { readonly examples?: object }> }
type OperationObject = {
  readonly operationId: string
  readonly summary: string
  readonly servers?: unknown
  readonly parameters?: readonly object[]
  readonly responses: Record<string, Response>
}
type Document = {
  readonly openapi: string
  readonly info: { readonly version: string }
  readonly servers: readonly { readonly url: string }[]
  readonly paths: Record<string, Record<string, OperationObject>>
  readonly components: Record<'responses' | 'examples', Record<string, Response>>
}

const asked = await fetch(`${service.url}/openapi.json`)
const text = await asked.text()
const document = JSON.parse(text) as Document

/** `get /items/{id}` of every operation in the document on one of the ports. */
const documentedOn = (isAdmin: boolean): string[] =>
  Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, operation]) => (operation.servers !== undefined) === isAdmin)
      .map(([method]) => `${method} ${path}`),
  )

const pathOf = (template: string): string => template.replace(/:(\w+)/g, '{$1}')

/** The same of every route that the router of a port has. */
const routed = ({ router }: Api): string[] =>
  router.stack.flatMap(({ path, methods }) =>
    methods.filter((method) => method !== 'HEAD').map((method) => `${method.toLowerCase()} ${pathOf(String(path))}`),
  )

test('every route of the service is in the document, and nothing else', () => {
  assert.deepEqual(documentedOn(false).toSorted(), routed(service.api).toSorted())
})

test('every route of the admin port is in the document, with its server, and nothing else', () => {
  assert.deepEqual(documentedOn(true).toSorted(), routed(service.admin).toSorted())
})

test('every operation has a summary, an answer and a name of its own', () => {
  const operations = Object.values(document.paths).flatMap((methods) => Object.values(methods))
  for (const { operationId, summary } of operations) assert.match(summary, /^.{4,}[^.]$/, operationId)
  for (const { method, template, operation } of [...service.api.operations, ...service.admin.operations]) {
    assert.ok(Object.keys(operation.answers).length > 0, `${method} ${template} answers nothing`)
  }
  assert.equal(new Set(operations.map(({ operationId }) => operationId)).size, operations.length)
})

test('every part of a path is described', () => {
  for (const { template, operation } of [...service.api.operations, ...service.admin.operations]) {
    const parts = [...template.matchAll(/:(\w+)/g)].map(([, name]) => name)
    assert.deepEqual(Object.keys(operation.path?.().shape ?? {}), parts, template)
  }
})

test('every problem of the registry is in the document', () => {
  for (const code of Object.keys(problems)) {
    assert.ok(document.components.responses[code] !== undefined, code)
    assert.ok(document.components.examples[code] !== undefined, code)
  }
})

test('the document is valid OpenAPI 3.1 for this build, on the origin that sends it', async () => {
  assert.equal(asked.headers.get('content-type'), 'application/json')
  assert.match(document.openapi, /^3\.1\./)
  assert.equal(document.info.version, testBuild.version)
  assert.deepEqual(document.servers, [{ url: '/' }])
  const { valid, errors } = await new Validator().validate(JSON.parse(text) as Record<string, unknown>)
  assert.ok(valid, JSON.stringify(errors))
})

test('the document keeps its bytes and its tag, and a client that has them is told so', async () => {
  const tag = asked.headers.get('etag')!
  const again = await fetch(`${service.url}/openapi.json`)
  assert.deepEqual([await again.text(), again.headers.get('etag')], [text, tag])
  const known = await fetch(`${service.url}/openapi.json`, { headers: { 'If-None-Match': tag } })
  assert.deepEqual([known.status, await known.text(), known.headers.get('etag')], [304, '', tag])
})

test('the files of the page are those that the document names', () => {
  const [parameter] = document.paths['/docs/{file}']!['get']!.parameters as [{ schema: { enum: string[] } }]
  assert.deepEqual(parameter.schema.enum, Object.keys(docsFiles))
})

test('a file that the page does not have is not found, whatever it is called', async () => {
  for (const name of ['package.json', 'swagger-ui.css.map', '..%2fpackage.json', 'constructor', '__proto__']) {
    const answer = await fetch(`${service.url}/docs/${name}`)
    assert.equal(answer.status, 404, name)
    problemSchema().parse(await answer.json())
  }
})

/** A target for each GET; a new route must be added here. Several are asked one after the other. */
const targets: Readonly<Record<string, readonly string[]>> = {
  '/': ['/'],
  '/work/wait': ['/work/wait?ms=1'],
  '/work/gather': ['/work/gather?ms=2,1'],
  '/work/cpu': ['/work/cpu?ms=1'],
  '/work/block': ['/work/block?ms=1'],
  '/work/thread': ['/work/thread?ms=1'],
  '/work/query': ['/work/query?ms=1'],
  '/work/mix': ['/work/mix', '/work/mix?wait=1&cpu=1&queries=2'],
  '/work/memory': ['/work/memory?mb=1'],
  '/aggregate': ['/aggregate', '/aggregate?source=news&source=stocks'],
  '/items': ['/items', '/items?limit=1'],
  '/items/:id': [`/items/${item}`],
  '/uploads': ['/uploads', '/uploads?limit=1'],
  '/uploads/:id': [`/uploads/${upload}`],
  '/plaintext': ['/plaintext'],
  '/json': ['/json'],
  '/db': ['/db'],
  '/queries': ['/queries', '/queries?queries=3'],
  '/updates': ['/updates', '/updates?queries=3'],
  '/fortunes': ['/fortunes'],
  '/cached-queries': ['/cached-queries', '/cached-queries?count=3'],
  '/problems': ['/problems'],
  '/problems/:code': ['/problems/not-found'],
  '/openapi.json': ['/openapi.json'],
  '/docs': ['/docs'],
  '/docs/:file': Object.keys(docsFiles).map((name) => `/docs/${name}`),
  '/livez': ['/livez'],
  '/readyz': ['/readyz'],
  '/startupz': ['/startupz'],
  '/faults': ['/faults'],
  '/metrics': ['/metrics'],
}

const reads = (api: Api): DescribedOperation[] => api.operations.filter(({ method }) => method === 'get')

const contentOf = (answer: globalThis.Response): string => answer.headers.get('content-type')!.split(';')[0]!

/** What an answer of this type is said to be. */
const contentFor = (answer: Answer | undefined, type: string): Content | undefined => {
  const described = Object.entries(answer?.content ?? {})
  return described.find(([media]) => media.split(';')[0] === type)?.[1] ?? answer?.content?.['*/*']
}

const assertAsDescribed = async (what: string, content: Content, answer: globalThis.Response): Promise<void> => {
  if (content === 'bytes') return void (await answer.arrayBuffer())
  const body: unknown = contentOf(answer).endsWith('json') ? await answer.json() : await answer.text()
  const { success, error } = content().safeParse(body)
  assert.ok(success, `${what}: ${error?.message}\n${JSON.stringify(body).slice(0, 1_000)}`)
}

for (const [port, origin] of [
  [service.api, service.url],
  [service.admin, service.adminUrl],
] as const) {
  for (const { template, operation } of reads(port)) {
    test(`GET ${template} answers what its description says`, limits, async () => {
      const asked = targets[template]
      assert.ok(asked !== undefined, `say above how to ask for ${template}`)
      for (const target of asked) {
        const answer = await fetch(origin + target, { headers: { authorization: `Bearer ${token}` } })
        const content = contentFor(operation.answers[answer.status], contentOf(answer))
        assert.ok(content !== undefined, `${target}: ${answer.status} ${contentOf(answer)} is not described`)
        await assertAsDescribed(target, content, answer)
      }
    })
  }
}

/** The codes that an operation lists for a status. */
const listed = (template: string, status: number): string[] => {
  const response = document.paths[pathOf(template)]?.['get']?.responses[status]
  const name = response?.$ref?.split('/').at(-1)
  const found = name === undefined ? response : document.components.responses[name]
  return Object.keys(found?.content?.['application/problem+json']?.examples ?? {})
}

const anId = /[\da-f-]{36}/

const mistaken = (target: string): readonly [target: string, headers: Record<string, string>][] => [
  [`${target}${target.includes('?') ? '&' : '?'}nobody-knows=this`, {}],
  [target.replace(/=\d+/g, '=-1'), {}],
  [target.split('?')[0]!, {}],
  [target.replace(anId, 'no-id'), {}],
  [target.replace(anId, '01900000-0000-7000-8000-000000000000'), {}],
  [target, { 'request-timeout-ms': 'soon' }],
  [target, { 'x-priority': 'highest' }],
  [target, { authorization: 'Bearer nobody' }],
]

for (const [port, origin] of [
  [service.api, service.url],
  [service.admin, service.adminUrl],
] as const) {
  for (const { template } of reads(port)) {
    test(`GET ${template} tells of mistakes as its description says`, limits, async () => {
      for (const [target, headers] of (targets[template] ?? []).flatMap(mistaken)) {
        const answer = await fetch(origin + target, { headers })
        if (answer.status < 400) continue
        assert.notEqual(answer.status, 500, target)
        assert.equal(contentOf(answer), 'application/problem+json', target)
        const { code } = problemSchema().parse(await answer.json()) as { readonly code: string }
        assert.ok(listed(template, answer.status).includes(code), `${target}: ${answer.status} ${code} is not listed`)
      }
    })
  }
}
