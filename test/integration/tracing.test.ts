import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import type { IncomingHttpHeaders } from 'node:http'
import { test, type TestContext } from 'node:test'
import { migrate } from '../../src/service/db/migrate.ts'
import { type CollectedSpan, type Collector, startCollector } from '../support/collector.ts'
import { sqlOn } from '../support/client.ts'
import { listen } from '../support/http.ts'
import { freshDatabase } from '../support/postgres.ts'
import { startTestService, type TestService } from '../support/service.ts'
import { nodesOf, shapeOf, type TraceNode, traceTree, writeTree } from '../support/trace-tree.ts'
import { until } from '../support/until.ts'
import { startValkey, withoutRedis } from '../support/valkey.ts'

const url = await freshDatabase()
await migrate(url)
const database = new URL(url)
const limits = { timeout: 60_000 }

const tracedTo = (collector: Collector) => ({
  OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
  OTEL_BSP_SCHEDULE_DELAY: '20',
  // Traces are what callers ask for.
  OTEL_TRACES_SAMPLER: 'parentbased_always_off',
  // A busy machine is no reason to tell of others.
  SLOW_REQUEST_MS: '60000',
})

type Parts = { readonly collector: Collector; readonly service: TestService }

const started = async (t: TestContext, env: Readonly<Record<string, string>> = {}): Promise<Parts> => {
  const collector = await startCollector()
  t.after(() => collector[Symbol.asyncDispose]())
  const service = await startTestService({ ...tracedTo(collector), DATABASE_URL: url, ...env })
  t.after(() => service[Symbol.asyncDispose]())
  return { collector, service }
}

let asked = 0
const caller = 'cd'.repeat(8)
const newTraceId = (): string => (asked += 1).toString(16).padStart(32, 'a')
const traced = (traceId: string) => ({ traceparent: `00-${traceId}-${caller}-01` })

type Asked = { readonly status: number; readonly body: string; readonly tree: TraceNode; readonly traceId: string }

/** Sends a request that is to be recorded, and waits for a trace that has these many spans at least. */
const ask = async (
  { collector, service }: Parts,
  path: string,
  spans: number,
  { headers, ...init }: Omit<RequestInit, 'headers'> & { readonly headers?: Readonly<Record<string, string>> } = {},
): Promise<Asked> => {
  const traceId = newTraceId()
  const answer = await fetch(service.url + path, { ...init, headers: { ...headers, ...traced(traceId) } })
  const body = await answer.text()
  const tree = await collectedTree(collector, traceId, spans)
  return { status: answer.status, body, tree, traceId }
}

const collectedTree = async (collector: Collector, traceId: string, spans: number): Promise<TraceNode> => {
  await collector.until((all) => all.filter((span) => span.traceId === traceId).length >= spans)
  return traceTree(collector.spans(), traceId)
}

const spanNamed = (tree: TraceNode, name: string): CollectedSpan => {
  const found = nodesOf(tree).find(({ span }) => span.name === name)
  if (found === undefined) throw new Error(`no span ${name} in ${shapeOf(tree)}`)
  return found.span
}

const areWithin = ({ span, children }: TraceNode): boolean =>
  children.every((child) => {
    const rounding = 0.01
    const inside = child.span.startMs >= span.startMs - rounding && child.span.endMs <= span.endMs + rounding
    return inside && areWithin(child)
  })

test('a request that queries, waits and computes has these parts, in this order', limits, async (t) => {
  const parts = await started(t)
  const { tree } = await ask(parts, '/work/mix?wait=5&cpu=5&queries=2', 5)
  assert.equal(shapeOf(tree), 'GET /work/mix(SELECT world SELECT world thread(thread run))')
  assert.ok(areWithin(tree), writeTree(tree))
  const [, second, thread] = tree.children
  assert.ok(thread!.span.startMs >= second!.span.endMs + 4)
  assert.ok(
    nodesOf(tree).every(({ span }) => span.status === 'unset' && span.attributes['plimsoll.unfinished'] === undefined),
  )
})

test('a statement is told by the conventions for databases, without its values', limits, async (t) => {
  const { tree } = await ask(await started(t), '/db', 2)
  const { kind, attributes } = spanNamed(tree, 'SELECT world')
  assert.equal(kind, 'client')
  assert.deepEqual(attributes, {
    'db.system.name': 'postgresql',
    'db.namespace': database.pathname.slice(1),
    'db.operation.name': 'SELECT',
    'db.collection.name': 'world',
    'db.query.summary': 'SELECT world',
    'db.query.text': 'select id, randomnumber from world where id = $1::integer',
    'server.address': database.hostname,
    'server.port': Number(database.port),
  })
})

test('a statement that fails has its SQLSTATE, and so has its duration', limits, async (t) => {
  const own = await freshDatabase()
  await migrate(own)
  const parts = await started(t, { DATABASE_URL: own })
  await sqlOn(own)('drop table world')
  const { status, tree } = await ask(parts, '/db', 2)
  const { attributes, status: outcome } = spanNamed(tree, 'SELECT world')
  assert.equal(status, 500)
  assert.equal(outcome, 'error')
  assert.equal(attributes['db.response.status_code'], '42P01')
  assert.equal(attributes['error.type'], '42P01')
  const durations = await linesOf(parts.service, 'db_client_operation_duration_seconds')
  const count = durations.find(
    ({ labels, metricName }) => labels['error_type'] === '42P01' && metricName?.endsWith('_count'),
  )
  assert.equal(count?.value, 1)
})

const linesOf = async ({ service }: TestService, name: string) =>
  (await service.telemetry!.collect()).find((metric) => metric.name === name)!.values

const valueOf = async (service: TestService, name: string, labels: Record<string, string> = {}): Promise<number> => {
  const lines = await linesOf(service, name)
  const line = lines.find((each) => Object.entries(labels).every(([key, value]) => each.labels[key] === value))
  if (line === undefined) throw new Error(`${name} has no line ${JSON.stringify(labels)}`)
  return line.value
}

/** Sends a request that takes what others need, and lets go of it when told to. */
const hold = ({ url }: TestService, path: string): (() => Promise<void>) => {
  const controller = new AbortController()
  const held = fetch(url + path, { signal: controller.signal }).catch(() => {})
  return async () => {
    controller.abort()
    await held
  }
}

const reaches = (
  service: TestService,
  name: string,
  value: number,
  labels?: Record<string, string>,
): Promise<unknown> => until(`${name} is ${value}`, async () => (await valueOf(service, name, labels)) === value)

test('a request that had to wait for a connection of the pool shows it', limits, async (t) => {
  const parts = await started(t, { DATABASE_POOL: '1' })
  const letGo = hold(parts.service, '/work/query?ms=60000')
  await reaches(parts.service, 'plimsoll_db_connections', 1, { state: 'used' })
  const asking = ask(parts, '/work/query?ms=1', 3)
  await reaches(parts.service, 'plimsoll_db_connections_pending', 1)
  await letGo()
  const { tree } = await asking
  assert.equal(shapeOf(tree), 'GET /work/query(pool wait SELECT pg_sleep)')
  assert.ok(areWithin(tree), writeTree(tree))
  assert.ok((await valueOf(parts.service, 'plimsoll_db_connections_pending_seconds_total')) > 0)
  const second = await ask(parts, '/work/query?ms=1', 2)
  assert.equal(shapeOf(second.tree), 'GET /work/query(SELECT pg_sleep)')
})

test('what a request was doing when its deadline came has ended with it, and says why', limits, async (t) => {
  const parts = await started(t)
  // A connection that has been made need not be waited for.
  await fetch(`${parts.service.url}/work/query?ms=1`)
  const headers = { 'request-timeout-ms': '400' }
  const query = await ask(parts, '/work/query?ms=5000', 2, { headers })
  const cpu = await ask(parts, '/work/cpu?ms=5000', 3, { headers })
  assert.deepEqual([query.status, cpu.status], [504, 504])
  assert.equal(shapeOf(cpu.tree), 'GET /work/cpu(thread(thread run))')
  assert.equal(spanNamed(cpu.tree, 'thread run').attributes['error.type'], 'deadline-exceeded')
  for (const { tree } of [query, cpu]) assert.equal(tree.span.attributes['plimsoll.problem'], 'deadline-exceeded')
})

test('a request that is not sampled makes no span, here or at those that it calls', limits, async (t) => {
  const parts = await started(t, { DATABASE_POOL: '1' })
  for (const path of ['/db', '/work/mix?wait=1&cpu=1&queries=2', '/aggregate?source=news', '/work/query?ms=1']) {
    assert.equal((await fetch(parts.service.url + path)).status, 200)
  }
  // The next one is told, and so would those before it have been.
  await ask(parts, '/json', 1)
  assert.equal(parts.collector.spans().length, 1)
})

/** What an upstream is sent by a request with these headers. */
const sentBy = async (t: TestContext, env: Readonly<Record<string, string>>, headers: Record<string, string>) => {
  const seen: IncomingHttpHeaders[] = []
  const upstream = await listen((req, res) => {
    seen.push(req.headers)
    res.end('{}')
  })
  t.after(() => upstream[Symbol.asyncDispose]())
  const { service } = await started(t, { ...env, UPSTREAMS: `there=http://127.0.0.1:${upstream.port}/` })
  assert.equal((await fetch(`${service.url}/aggregate`, { headers })).status, 200)
  return seen[0]!
}

const unrecorded = { traceparent: `00-${'ab'.repeat(16)}-${caller}-00`, tracestate: 'vendor=1' }

test('an upstream is told the trace of a request that is not recorded, and not to record it', limits, async (t) => {
  const { traceparent, tracestate } = await sentBy(t, {}, unrecorded)
  assert.match(String(traceparent), new RegExp(`^00-${'ab'.repeat(16)}-[0-9a-f]{16}-00$`))
  assert.notEqual(traceparent, unrecorded.traceparent)
  assert.equal(tracestate, 'vendor=1')
  const own = await sentBy(t, {}, {})
  assert.match(String(own['traceparent']), /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)
})

for (const [how, env] of [
  ['telemetry', { TELEMETRY: 'off' }],
  ['tracing', { OTEL_TRACES_EXPORTER: 'none' }],
] as const) {
  test(`without ${how} an upstream is told what the caller said of its trace, as it came`, limits, async (t) => {
    const { traceparent, tracestate } = await sentBy(t, env, unrecorded)
    assert.deepEqual({ traceparent, tracestate }, unrecorded)
    assert.equal((await sentBy(t, env, {}))['traceparent'], undefined)
  })
}

test('an attempt is told by the conventions for HTTP, without user, password and query', limits, async (t) => {
  const { service: called } = await started(t)
  const { port } = called
  const upstream = `http://name:canary-password@127.0.0.1:${port}/json?key=canary-query`
  const parts = await started(t, { UPSTREAMS: `greeter=${upstream}` })
  const { tree } = await ask(parts, '/aggregate', 2)
  const { kind, attributes } = spanNamed(tree, 'GET')
  assert.equal(kind, 'client')
  assert.deepEqual(attributes, {
    'http.request.method': 'GET',
    'server.address': '127.0.0.1',
    'server.port': port,
    'url.path': '/json',
    'plimsoll.upstream': 'greeter',
    'http.response.status_code': 200,
  })
  assert.ok(!JSON.stringify(parts.collector.spans()).includes('canary'))
})

test('an attempt that fails says how, and the one after it that it is not the first', limits, async (t) => {
  const free = await started(t)
  const { port } = free.service
  await free.service[Symbol.asyncDispose]()
  const parts = await started(t, { UPSTREAMS: `gone=http://127.0.0.1:${port}/json` })
  const { status, tree } = await ask(parts, '/aggregate', 3)
  assert.equal(status, 502)
  const told = tree.children.map(({ span: { status, attributes } }) => [
    status,
    attributes['error.type'],
    attributes['http.request.resend_count'],
  ])
  assert.deepEqual(told, [
    ['error', 'ECONNREFUSED', undefined],
    ['error', 'ECONNREFUSED', 1],
  ])
})

test('what a client sends and what is stored appears in no span and no metric', limits, async (t) => {
  const parts = await started(t)
  const canary = 'canary-1f6c'
  const body = JSON.stringify({ name: `${canary}-name`, note: `${canary}-note`, quantity: 7 })
  const headers = { 'content-type': 'application/json', 'idempotency-key': `${canary}-key`, 'x-secret': canary }
  const made = await ask(parts, '/items', 6, { method: 'POST', headers, body })
  assert.equal(made.status, 201)
  const statements = ['INSERT idempotency_keys', 'INSERT items', 'UPDATE idempotency_keys', 'COMMIT']
  assert.equal(shapeOf(made.tree), `POST /items(pool wait BEGIN ${statements.join(' ')})`)
  await ask(parts, `/items?limit=${canary}`, 1)
  assert.ok(!JSON.stringify(parts.collector.spans()).includes(canary))
  assert.ok(!JSON.stringify(await parts.service.service.telemetry!.collect()).includes(canary))
})

test(
  'what is shared through Valkey is told: the rate limit, and what the cache asks',
  { ...limits, skip: withoutRedis },
  async (t) => {
    const valkey = await startValkey()
    t.after(() => valkey[Symbol.asyncDispose]())
    const parts = await started(t, { RATE_LIMIT: '10000/s', CACHE_URL: valkey.url })
    const made = await fetch(`${parts.service.url}/items`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'a', note: '', quantity: 1 }),
    })
    const path = made.headers.get('location')!
    await until('requests are counted', async () => {
      await fetch(`${parts.service.url}/json`)
      return (await valueOf(parts.service, 'plimsoll_rate_limit_requests_total', { decision: 'allowed' })) > 0
    })
    const { tree } = await ask(parts, path, 4)
    assert.equal(shapeOf(tree), 'GET /items/:id(rate limit cache(SELECT items))')
    assert.equal(spanNamed(tree, 'rate limit').attributes['plimsoll.decision'], 'allowed')
    assert.ok(areWithin(tree), writeTree(tree))
    await valkey.stop()
    const lost = await until('the loss is seen', async () => {
      const { tree } = await ask(parts, '/json', 2)
      return spanNamed(tree, 'rate limit').status === 'error' && tree
    })
    assert.equal(spanNamed(lost, 'rate limit').attributes['plimsoll.decision'], 'uncounted')
    assert.equal(spanNamed(lost, 'rate limit').attributes['error.type'], 'cache-unavailable')
  },
)

test('/aggregate gives one trace over both replicas, of all that the request waited for', limits, async (t) => {
  const called = { INSTANCE: 'replica-2', MAX_IN_FLIGHT: '1', QUEUE_TIMEOUT_MS: '20000', DATABASE_POOL: '1' }
  const { collector, service: second } = await started(t, called)
  const upstreams = `mix=${second.url}/work/mix?wait=5&cpu=5&queries=2,report=${second.url}/work/query?ms=20`
  const first = await startTestService({
    ...tracedTo(collector),
    INSTANCE: 'replica-1',
    UPSTREAMS: upstreams,
    UPSTREAM_TIMEOUT_MS: '20000',
  })
  t.after(() => first[Symbol.asyncDispose]())
  const letGo = hold(second, '/work/wait?ms=60000')
  await reaches(second, 'plimsoll_admission_in_flight', 1)
  const asking = ask({ collector, service: first }, '/aggregate', 12)
  await reaches(second, 'plimsoll_admission_queued', 2)
  await letGo()
  const { status, tree } = await asking
  assert.equal(status, 200)
  assert.equal(shapeOf(tree), shape)
  assert.ok(areWithin(tree), writeTree(tree))
  t.diagnostic(`\n${writeTree(tree)}`)
  const page = await readFile(new URL('../../docs/tracing.md', import.meta.url), 'utf8')
  assert.ok(withoutTimes(page).includes(withoutTimes(writeTree(tree))), 'docs/tracing.md shows another trace')
})

const shape =
  'GET /aggregate(GET(GET /work/mix(admission queue SELECT world SELECT world thread(thread run))) ' +
  'GET(GET /work/query(admission queue pool wait SELECT pg_sleep)))'

const withoutTimes = (text: string): string => text.replaceAll(/ +\d+\.\d/g, '')
