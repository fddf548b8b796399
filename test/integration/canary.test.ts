/**
 * What clients send and what the configuration keeps secret must not come out in logs, traces and metrics. Each place
 * where something can come in is given a text of its own, a canary, and none may be found where telemetry goes.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import pg from 'pg'
import { migrate } from '../../src/service/db/migrate.ts'
import { runCli, serve, type Serving } from '../support/cli.ts'
import { type Collector, startCollector } from '../support/collector.ts'
import { exchange, type RawRequest, request } from '../support/http.ts'
import { freshDatabase, makeTestFolder } from '../support/postgres.ts'
import { until } from '../support/until.ts'
import { startValkey, type TestValkey, withoutRedis } from '../support/valkey.ts'

/** A text that stands nowhere else, with the name of the place that it is put into. */
const canary = (place: string): string => `canary0${place}0x7q`

/** The canaries in a text, also where it has them in base64: at each of the three offsets some letters are the same. */
const canariesIn = (text: string): string[] => [
  ...new Set(text.match(/canary\w*|Y2FuYXJ5\w*|NhbmFyeT\w*|jYW5hcnkw\w*/gi)),
]

const headers = {
  Authorization: `Bearer ${canary('authorization')}`,
  'Proxy-Authorization': `Basic ${Buffer.from(`user:${canary('basic')}`).toString('base64')}`,
  Cookie: `session=${canary('cookie')}`,
  'X-Api-Key': canary('apiKey'),
  'User-Agent': canary('userAgent'),
  Referer: `http://elsewhere/${canary('referer')}`,
  'X-Forwarded-For': canary('forwarded'),
  'X-Anything': canary('anything'),
  Origin: `http://${canary('origin')}.example`,
  Baggage: `key=${canary('baggage')}`,
  'If-None-Match': `"${canary('etag')}"`,
  'Content-Disposition': `attachment; filename="${canary('fileName')}"`,
}

const query = `token=${canary('query')}&${canary('queryName')}=1`

const boundary = 'b0undary'
const multipart = [
  `--${boundary}`,
  `Content-Disposition: form-data; name="${canary('field')}"; filename="${canary('partName')}.txt"`,
  'Content-Type: text/plain',
  '',
  canary('part'),
  `--${boundary}--`,
  '',
].join('\r\n')

/** Bodies with their types: one that an item can be made of, and others that are wrong in ways of their own. */
const bodies: readonly (readonly [type: string, body: string])[] = [
  ['application/json', JSON.stringify({ name: canary('name'), note: canary('note') })],
  ['application/json', JSON.stringify({ name: 7, [canary('member')]: canary('value') })],
  ['application/json', `{"name": ${canary('malformed')}`],
  ['application/x-www-form-urlencoded', `name=${canary('form')}`],
  [`multipart/form-data; boundary=${boundary}`, multipart],
  [`text/${canary('type')}`, canary('text')],
  ['application/json', `"${canary('large')}${'x'.repeat(2_000_000)}"`],
]

/** What paths need, and queries to be answered: harmless, for the path of a route that exists may be told. */
const pathValues: Readonly<Record<string, string>> = {
  id: '01890a5d-ac96-774b-bcce-b302099a8057',
  code: 'not-found',
  file: 'swagger-ui.css',
}
const queryValues: Readonly<Record<string, string>> = {
  ms: '1',
  mb: '1',
  wait: '1',
  cpu: '1',
  queries: '1',
  count: '1',
}

type Document = {
  readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly parameters?: readonly Parameter[] }>>>>
}
type Parameter = { readonly in?: string; readonly name?: string }

type Call = readonly [target: string, request: RawRequest]

/** Calls of every operation: right ones, ones whose every parameter is a canary, with each of the bodies. */
const callsOf = ({ paths }: Document): Call[] =>
  Object.entries(paths).flatMap(([template, operations]) =>
    Object.entries(operations).flatMap(([verb, { parameters = [] }]) => {
      const path = template.replace(/\{(\w+)\}/g, (_, name: string) => pathValues[name]!)
      const method = verb.toUpperCase()
      const names = parameters.filter((one) => one.in === 'query').map(({ name }) => name!)
      const right = names.filter((name) => name in queryValues).map((name) => `${name}=${queryValues[name]}`)
      const wrong = names.map((name) => `${name}=${canary(name)}`)
      const plain: Call[] = [
        [`${path}?${right.join('&')}`, { method, headers }],
        [`${path}?${[...right, query].join('&')}`, { method, headers }],
        [`${path}?${wrong.join('&')}`, { method, headers }],
      ]
      if (method === 'GET') return plain
      const sent = bodies.map(
        ([type, body]): Call => [
          `${path}?${right.join('&')}`,
          { method, headers: { ...headers, 'Content-Type': type }, body },
        ],
      )
      return [...plain, ...sent]
    }),
  )

/** Calls that no operation is for. */
const strayCalls: readonly Call[] = [
  [`/${canary('path')}`, { headers }],
  [`/items/${canary('unknown')}/${canary('deeper')}?${query}`, { headers }],
  [`/json`, { method: 'DELETE', headers }],
  [`/json`, { method: 'PROPFIND', headers }],
  [`http://user:${canary('target')}@${canary('host')}.example/json#${canary('fragment')}`, { headers }],
  [`http://${canary('host')}.example/json?${query}`, { headers: { ...headers, Host: canary('hostHeader') } }],
  [`/json`, { headers: { ...headers, Expect: canary('expect') } }],
  [`/work/wait?ms=1`, { headers: { ...headers, 'Request-Timeout-Ms': canary('deadline') } }],
  [`/json`, { headers: { ...headers, traceparent: canary('traceparent') } }],
  [`/json`, { headers: { ...headers, 'X-Request-Id': `${canary('requestId')} not harmless` } }],
]

const unreadable: readonly string[] = [
  `${canary('garbage')}\r\n\r\n`,
  `GET /json HTTP/1.1\r\n${canary('headerLine')}\r\n\r\n`,
  `GET /json HTTP/1.1\r\nHost: a\r\nX-Large: ${canary('largeHeader')}${'x'.repeat(40_000)}\r\n\r\n`,
]

type Answers = { readonly statuses: ReadonlySet<number>; readonly text: string; readonly count: number }

const portOf = (url: string): number => Number(new URL(url).port)

let keys = 0

/** Makes calls, some at a time. */
const make = async (port: number, calls: readonly Call[]): Promise<Answers> => {
  const statuses = new Set<number>()
  let text = ''
  const waiting = [...calls]
  const one = async (): Promise<void> => {
    for (let call = waiting.pop(); call !== undefined; call = waiting.pop()) {
      const [target, options] = call
      // A key that was used before would be given the answer of then.
      const key = { 'Idempotency-Key': `${canary('idempotency')}${(keys += 1)}` }
      const answer = await request(port, target, { ...options, headers: { ...options.headers, ...key } })
      statuses.add(answer.status)
      text += answer.body.toString('latin1')
    }
  }
  await Promise.all(Array.from({ length: 8 }, one))
  return { statuses, text, count: calls.length }
}

/** A database with a role of its own, and who may change both. */
const startDatabase = async () => {
  const url = await freshDatabase()
  await migrate(url)
  const owner = new pg.Client({ connectionString: url })
  await owner.connect()
  const role = `plain_${new URL(url).pathname.slice(1)}`
  await owner.query(`CREATE ROLE ${role} LOGIN PASSWORD '${canary('databasePassword')}'`)
  await owner.query(`GRANT ALL ON ALL TABLES IN SCHEMA public TO ${role}`)
  await owner.query(`GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO ${role}`)
  const own = new URL(url)
  own.username = role
  own.password = canary('databasePassword')
  return { url: own.href, owner, role, [Symbol.asyncDispose]: () => owner.end() }
}

/** Whoever writes an item fails, first in one way and then in another; both tell PostgreSQL's client what was written. */
const breakItems = [
  'ALTER TABLE items ADD CONSTRAINT nothing CHECK (false) NOT VALID',
  `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM NEW.name::int; RETURN NEW; END $$;
   CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION refuse()`,
] as const

const shutOut = async (owner: pg.Client, role: string): Promise<void> => {
  await owner.query(`ALTER ROLE ${role} NOLOGIN`)
  await owner.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1', [role])
}

/** Another service that says too much, and fails in between. */
const startUpstream = async () => {
  let calls = 0
  const server = createServer((_, res) => {
    calls++
    res.setHeader('X-Upstream', canary('upstreamHeader'))
    res.statusCode = calls % 4 === 1 ? 200 : 500
    if (calls % 4 === 0) res.destroy()
    else res.end(calls % 4 === 1 ? `{"a": "${canary('upstreamBody')}` : canary('upstreamError'))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const close = async (): Promise<void> => {
    server.close()
    server.closeAllConnections()
  }
  return { port, [Symbol.asyncDispose]: close }
}

const protectedValkey = async (): Promise<TestValkey> => {
  const valkey = await startValkey()
  await exchange(valkey.port, `CONFIG SET requirepass ${canary('cachePassword')}\r\nQUIT\r\n`)
  return valkey
}

const adminToken = canary('adminToken')
const ownerKey = canary('ownerKey')

const envOf = (collector: Collector, upstreamPort: number, databaseUrl: string): Record<string, string> => ({
  LOG_LEVEL: 'trace',
  DATABASE_URL: databaseUrl,
  DATABASE_POOL: '2',
  THREADS: '1',
  UPSTREAMS: [
    `loose=http://user:${canary('upstreamPassword')}@127.0.0.1:${upstreamPort}/a?key=${canary('upstreamQuery')}`,
    `dead=http://${canary('upstreamToken')}@127.0.0.1:9/`,
  ].join(),
  UPSTREAM_BREAKER_FAILURES: '1000',
  RATE_LIMIT: '1000000/s',
  RATE_LIMIT_KEYS: `owner:${ownerKey}`,
  ADMIN_TOKEN: adminToken,
  OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
  OTEL_EXPORTER_OTLP_HEADERS: `authorization=Bearer%20${canary('otlpHeader')}`,
  OTEL_TRACES_SAMPLER: 'always_on',
})

const marker = 'request-id-of-the-test'

/** Everything on that is worth it, in the way and with the header names that the admin port wants. */
const adminCalls: readonly Call[] = [
  ['/faults', { headers: { ...headers, Authorization: `Bearer ${adminToken}` } }],
  ['/faults', { headers }],
  [`/${canary('adminPath')}?${query}`, { headers }],
  ...bodies.map(
    ([type, body]): Call => [
      '/faults',
      {
        method: 'PUT',
        headers: { ...headers, Authorization: `Bearer ${adminToken}`, 'Content-Type': type },
        body,
      },
    ],
  ),
]

const metricsOf = async (adminUrl: string): Promise<string> => {
  const texts = ['text/plain', 'application/openmetrics-text'].map(async (accept) => {
    const answer = await fetch(`${adminUrl}/metrics`, { headers: { accept } })
    return answer.text()
  })
  return (await Promise.all(texts)).join('\n')
}

/** All calls once; for the metrics what they show before the end. */
const callAll = async (service: Serving, calls: readonly Call[]): Promise<Answers> => {
  const port = portOf(service.url)
  const answers = await make(port, [...calls, ...strayCalls])
  await make(port, [['/json', { headers: { 'X-Api-Key': ownerKey, 'X-Request-Id': ownerKey } }]])
  await make(port, [['/json', { method: 'PROPFIND', headers: { ...headers, 'X-Request-Id': ownerKey } }]])
  for (const bytes of unreadable) await exchange(port, bytes)
  await make(portOf(service.adminUrl), adminCalls)
  return answers
}

const documentOf = async (service: Serving): Promise<Document> =>
  (await (await fetch(`${service.url}/openapi.json`)).json()) as Document

const ready = (service: Serving): Promise<boolean> =>
  until('ready', async () => (await fetch(`${service.adminUrl}/readyz`)).ok, 20_000)

/** Ends it and returns all that it told: log, stderr and spans. */
const toldBy = async (service: Serving, collector: Collector): Promise<string> => {
  const closed = once(service.process, 'close')
  service.process.kill('SIGTERM')
  await closed
  return [JSON.stringify(service.log), service.stderr(), JSON.stringify(collector.spans())].join('\n')
}

test(
  'nothing that a client sends, and no secret of the configuration, comes out in logs, traces or metrics',
  { timeout: 110_000 },
  async () => {
    await using collector = await startCollector()
    await using upstream = await startUpstream()
    await using database = await startDatabase()
    await using valkey = withoutRedis === false ? await protectedValkey() : undefined
    const cache = valkey && { CACHE_URL: valkey.url.replace('//', `//:${canary('cachePassword')}@`) }
    await using service = await serve([], {
      ...envOf(collector, upstream.port, database.url),
      ...cache,
      UPLOADS: `${await makeTestFolder()}/uploads`,
    })
    await ready(service)
    const calls = callsOf(await documentOf(service))
    const healthy = await callAll(service, calls)
    const items = calls.filter(([target]) => target.startsWith('/items'))
    for (const statement of breakItems) {
      await database.owner.query(statement)
      assert.ok((await make(portOf(service.url), items)).statuses.has(500))
    }
    await make(portOf(service.url), [
      ['/json', { method: 'PROPFIND', headers: { ...headers, 'X-Request-Id': marker } }],
    ])
    await valkey?.stop()
    await shutOut(database.owner, database.role)
    const down = await make(portOf(service.url), calls)
    const metrics = await metricsOf(service.adminUrl)
    const told = await toldBy(service, collector)

    assert.deepEqual(canariesIn(told), [])
    assert.deepEqual(canariesIn(metrics), [])
    // They came in, and what was to be provoked was.
    assert.ok(healthy.count > 100, String(healthy.count))
    assert.ok(canariesIn(healthy.text).length > 5, 'problem documents show the client what it sent')
    for (const status of [200, 201, 400, 404, 405, 413, 415, 501])
      assert.ok(healthy.statuses.has(status), String(status))
    assert.ok(down.statuses.has(503))
    // What may be told is told: a text that is looked for in the same way is found.
    const failed = service.log.filter(({ msg, err }) => msg === 'request' && err !== undefined)
    const messages = failed.map(({ err }) => (err as { message: string }).message)
    assert.ok(messages.includes('invalid input syntax for type integer: "…"'), messages.join())
    assert.ok(messages.some((message) => message.includes('violates check constraint "nothing"')))
    assert.equal(service.log.filter(({ requestId }) => requestId === marker).length, 1)
    assert.ok(service.log.some(({ requestId }) => requestId === '[redacted]'))
    const levels = new Set(service.log.map(({ msg }) => msg))
    assert.ok(levels.has('database unreachable') && (valkey === undefined || levels.has('valkey unreachable')))
    const routes = new Set(collector.spans().map(({ attributes }) => attributes['http.route']))
    for (const route of ['/items', '/items/:id', '/uploads', '/aggregate', '/work/thread'])
      assert.ok(routes.has(route), route)
    assert.match(metrics, /http_route="\/items\/:id"/)
  },
)

test('several workers and their parent tell no more', { timeout: 110_000 }, async () => {
  await using collector = await startCollector()
  await using upstream = await startUpstream()
  await using database = await startDatabase()
  await using service = await serve(['--workers', '2'], {
    ...envOf(collector, upstream.port, database.url),
    UPLOADS: `${await makeTestFolder()}/uploads`,
  })
  await ready(service)
  const calls = callsOf(await documentOf(service))
  for (const statement of breakItems) await database.owner.query(statement)
  await callAll(service, calls)
  await shutOut(database.owner, database.role)
  await make(portOf(service.url), calls)
  const metrics = await metricsOf(service.adminUrl)
  const told = await toldBy(service, collector)
  assert.deepEqual(canariesIn(told), [])
  assert.deepEqual(canariesIn(metrics), [])
  assert.ok(service.log.some(({ msg }) => msg === 'request'))
  assert.ok(collector.spans().length > 100)
  assert.match(metrics, /http_route="\/items\/:id"/)
})

/** Values that are not accepted, of every variable that may hold a secret. */
const wrong: Readonly<Record<string, string>> = {
  DATABASE_URL: `mysql://user:${canary('mysql')}@host/db`,
  CACHE_URL: `http://:${canary('cache')}@host`,
  UPSTREAMS: `a=ftp://user:${canary('ftp')}@host`,
  RATE_LIMIT_KEYS: `owner ${canary('key')}`,
  ADMIN_TOKEN: `${canary('token')} with spaces`,
  UPLOADS_S3_ENDPOINT: `s3://user:${canary('s3')}@host`,
  OTEL_EXPORTER_OTLP_ENDPOINT: `grpc://user:${canary('otlp')}@host`,
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `grpc://user:${canary('otlp')}@host`,
  OTEL_EXPORTER_OTLP_HEADERS: canary('headers'),
}

test('a configuration that is refused is told by the names of its variables, not by their values', async () => {
  const { code, stdout, stderr } = await runCli(['serve'], wrong)
  assert.equal(code, 2)
  assert.deepEqual(canariesIn(stdout + stderr), [])
  for (const name of Object.keys(wrong)) assert.ok(stderr.includes(`${name}: got "(hidden)"`), `${name}: ${stderr}`)
})

test('neither a database nor a cache nor a collector that cannot be reached shows in the log how it was to be reached', async () => {
  const secret = canary('password')
  const unusable = [
    { DATABASE_URL: `postgres://user:${secret}@127.0.0.1:9/db`, CACHE_URL: `redis://:${secret}@127.0.0.1:9` },
    { DATABASE_URL: `postgres://user:${secret}@[nowhere/db` },
    { DATABASE_URL: `postgres://user:${secret}@host:port/db` },
    { OTEL_EXPORTER_OTLP_ENDPOINT: `http://user:${secret}@127.0.0.1:9`, OTEL_TRACES_SAMPLER: 'always_on' },
    { OTEL_EXPORTER_OTLP_ENDPOINT: `http://user:${secret}@[nowhere`, OTEL_TRACES_SAMPLER: 'always_on' },
    { UPSTREAMS: `a=http://user:${secret}@[nowhere/` },
  ]
  for (const env of unusable) assert.deepEqual(canariesIn(await attempt(env)), [], JSON.stringify(env))
  const { stdout, stderr } = await runCli(['migrate'], { DATABASE_URL: unusable[0]!.DATABASE_URL! })
  assert.match(stderr, /ECONNREFUSED/)
  assert.deepEqual(canariesIn(stdout + stderr), [])
})

/** What a service writes that is started so and used a little, whether it comes up or not. */
const attempt = async (env: Record<string, string>): Promise<string> => {
  const local = { HOST: '127.0.0.1', PORT: '0', ADMIN_HOST: '127.0.0.1', ADMIN_PORT: '0', DRAIN_DELAY_MS: '0' }
  const running = runCli(['serve'], { ...local, LOG_LEVEL: 'trace', ...env }, 2_000)
  const { stdout, stderr } = await running
  assert.notEqual(stdout + stderr, '')
  return stdout + stderr
}

test('a canary is found wherever it stands', () => {
  const text = canary('here')
  assert.deepEqual(canariesIn(`a ${text} b`), [text])
  for (const before of ['', 'x', 'xx']) {
    assert.equal(canariesIn(Buffer.from(`${before}${text}`).toString('base64')).length, 1)
  }
  assert.deepEqual(canariesIn('harmless'), [])
})
