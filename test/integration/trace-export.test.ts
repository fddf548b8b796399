import assert from 'node:assert/strict'
import { test } from 'node:test'
import pino from 'pino'
import { processClock } from '../../src/kit/timers.ts'
import { type CollectedSpan, type Collector, startCollector } from '../support/collector.ts'
import { startGrpcCollector } from '../support/grpc-collector.ts'
import { startTestService, type TestService } from '../support/service.ts'
import { until } from '../support/until.ts'

const soon = { OTEL_BSP_SCHEDULE_DELAY: '20' }

const exportTo = (collector: Pick<Collector, 'url'>) => ({ ...soon, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url })

const allOf = (collector: Pick<Collector, 'url'>) => ({ ...exportTo(collector), OTEL_TRACES_SAMPLER: 'always_on' })
const noneOf = (collector: Pick<Collector, 'url'>) => ({
  ...exportTo(collector),
  OTEL_TRACES_SAMPLER: 'parentbased_always_off',
})

const get = async ({ url }: Pick<TestService, 'url'>, path: string, headers: Record<string, string> = {}) => {
  const answer = await fetch(url + path, { headers })
  await answer.text()
  return answer.status
}

const outcomesOf = async ({ service }: TestService): Promise<Record<string, number>> => {
  const metrics = await service.telemetry!.collect()
  const { values } = metrics.find(({ name }) => name === 'plimsoll_spans_total')!
  return Object.fromEntries(values.map(({ labels, value }) => [labels['outcome'], value]))
}

const named =
  (name: string) =>
  (spans: readonly CollectedSpan[]): CollectedSpan | undefined =>
    spans.find((span) => span.name === name)

const remote = { traceId: 'ab'.repeat(16), spanId: 'cd'.repeat(8) }
const traceparent = (flags: '00' | '01') => `00-${remote.traceId}-${remote.spanId}-${flags}`

const protocols = [
  ['http/protobuf', startCollector, 'application/x-protobuf'],
  ['http/json', startCollector, 'application/json'],
  // Its library keeps the type to itself.
  ['grpc', startGrpcCollector, undefined],
] as const

for (const [protocol, start, type] of protocols) {
  test(`a request's span arrives over ${protocol}, with the parent and state that came with the request`, async () => {
    await using collector = await start()
    await using service = await startTestService({
      ...allOf(collector),
      OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
      OTEL_EXPORTER_OTLP_HEADERS: 'x-tenant=a%20b',
    })
    const beforeMs = performance.timeOrigin + performance.now()
    await get(service, '/json?q=1', { traceparent: traceparent('01'), tracestate: 'vendor=1' })
    const span = await collector.until(named('GET /json'))
    assert.equal(span.traceId, remote.traceId)
    assert.equal(span.parentSpanId, remote.spanId)
    assert.equal(span.traceState, 'vendor=1')
    assert.equal(span.kind, 'server')
    assert.equal(span.status, 'unset')
    assert.equal(span.attributes['http.response.status_code'], 200)
    assert.equal(span.attributes['url.path'], '/json')
    // To the millisecond that both are rounded to.
    assert.ok(span.startMs >= beforeMs - 1 && span.endMs >= span.startMs)
    assert.ok(span.endMs <= performance.timeOrigin + performance.now() + 1)
    const { headers } = collector.requests()[0]!
    assert.equal(headers['content-type'], type)
    assert.equal(headers['x-tenant'], 'a b')
  })
}

test('a span says which process of which pod it is from, and nothing of its command line', async () => {
  await using collector = await startCollector()
  await using service = await startTestService({
    ...allOf(collector),
    POD_NAME: 'plimsoll-7f',
    POD_NAMESPACE: 'shop',
    POD_UID: 'b6c1',
    NODE_NAME: 'node-1',
    OTEL_RESOURCE_ATTRIBUTES: 'service.namespace=web,deployment.environment.name=test',
  })
  await get(service, '/json')
  const { resource, scope } = await collector.until(named('GET /json'))
  const expected = {
    'service.name': 'plimsoll',
    'service.version': '0.0.0',
    'service.instance.id': 'test',
    'service.namespace': 'web',
    'deployment.environment.name': 'test',
    'k8s.pod.name': 'plimsoll-7f',
    'k8s.namespace.name': 'shop',
    'k8s.pod.uid': 'b6c1',
    'k8s.node.name': 'node-1',
    'process.pid': process.pid,
    'telemetry.sdk.name': 'opentelemetry',
  }
  for (const [key, value] of Object.entries(expected)) assert.equal(resource[key], value, key)
  assert.equal(typeof resource['host.name'], 'string')
  assert.deepEqual(
    Object.keys(resource).filter((key) => key.startsWith('process.command')),
    [],
  )
  assert.deepEqual(scope, { name: 'plimsoll', version: '0.0.0' })
})

test('what was answered before the SDK is loaded is exported, too', async () => {
  await using collector = await startCollector()
  // Time in which the service looks for a quiet moment stands still until it is told to go on.
  const held: (() => void)[] = []
  const clock = {
    ...processClock,
    setTimeout: (call: () => void, ms: number) => (ms === 50 ? held.push(call) : processClock.setTimeout(call, ms)),
  }
  await using service = await startTestService(allOf(collector), { clock })
  await until('the service looks for a quiet moment', () => held.length > 0)
  for (let i = 0; i < 20; i++) await get(service, '/json')
  assert.equal(service.service.telemetry!.traces!.spans, 20)
  assert.equal(collector.requests().length, 0)
  await until('all has been exported', () => {
    for (const call of held.splice(0)) call()
    return collector.spans().length === 20
  })
})

test('what is left is exported when the service ends, even before it has begun to export', async () => {
  await using collector = await startCollector()
  const slow = { ...allOf(collector), OTEL_BSP_SCHEDULE_DELAY: '60000' }
  const service = await startTestService(slow)
  for (let i = 0; i < 20; i++) await get(service, '/json')
  await service[Symbol.asyncDispose]()
  assert.equal(collector.spans().length, 20)
  assert.deepEqual(await outcomesOf(service), { exported: 20, failed: 0, dropped: 0 })
})

test('more than one queue of the processor holds is exported when the service ends', async () => {
  await using collector = await startCollector()
  collector.behave('slow')
  const small = { OTEL_BSP_MAX_QUEUE_SIZE: '16', OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '16' }
  const service = await startTestService({ ...allOf(collector), ...small })
  await get(service, '/json')
  await until('the first batch is on its way', () => collector.requests().length > 0)
  for (let i = 1; i < 40; i++) await get(service, '/json')
  collector.behave('ok')
  await service[Symbol.asyncDispose]()
  assert.equal(collector.spans().length, 40)
  assert.equal(new Set(collector.spans().map(({ spanId }) => spanId)).size, 40)
  assert.deepEqual(await outcomesOf(service), { exported: 40, failed: 0, dropped: 0 })
})

test('by default the caller decides: its sampled requests are traced at ratio 0, its others are not at ratio 1', async () => {
  await using collector = await startCollector()
  await using never = await startTestService(noneOf(collector))
  await using always = await startTestService({
    ...exportTo(collector),
    INSTANCE: 'always',
    OTEL_TRACES_SAMPLER: 'parentbased_always_on',
  })
  await get(never, '/json', { traceparent: traceparent('01') })
  await get(never, '/json')
  await get(always, '/json', { traceparent: traceparent('00') })
  await get(always, '/json')
  await collector.until((spans) => spans.length === 2)
  await Promise.all([never[Symbol.asyncDispose](), always[Symbol.asyncDispose]()])
  assert.deepEqual(
    new Set(collector.spans().map((span) => `${String(span.resource['service.instance.id'])} ${span.parentSpanId}`)),
    new Set([`test ${remote.spanId}`, 'always undefined']),
  )
})

test('at ratio 0 an error is exported, and says what it was', async () => {
  await using collector = await startCollector()
  await using service = await startTestService(noneOf(collector))
  assert.equal(await get(service, '/db'), 503)
  const span = await collector.until(named('GET /db'))
  assert.equal(span.status, 'error')
  assert.equal(span.attributes['plimsoll.recorded'], 'error')
  assert.equal(span.attributes['error.type'], span.attributes['plimsoll.problem'])
})

test('of a very long target the beginning is told, so that traces that wait take a bounded room', async () => {
  await using collector = await startCollector()
  await using service = await startTestService(allOf(collector))
  await get(service, `/json?${'x'.repeat(8_000)}`)
  await get(service, `/items/${'y'.repeat(8_000)}`)
  const spans = await collector.until((all) => all.length === 2 && all)
  const paths = spans.map((span) => String(span.attributes['url.path']))
  assert.equal(paths[0], '/json')
  assert.equal(paths[1]!.length, 1_024)
})

test('at ratio 0 a slow request is exported, and a fast one is not', async () => {
  await using collector = await startCollector()
  await using service = await startTestService({ ...noneOf(collector), SLOW_REQUEST_MS: '200' })
  await get(service, '/json')
  await get(service, '/work/wait?ms=250')
  const span = await collector.until(named('GET /work/wait'))
  assert.equal(span.attributes['plimsoll.recorded'], 'slow')
  assert.equal(span.status, 'unset')
  await service[Symbol.asyncDispose]()
  assert.equal(collector.spans().length, 1)
})

/** Whatever the collector does: requests go on, and the service ends in time. */
const troubles = {
  hang: (collector: Collector) => collector.behave('hang'),
  slow: (collector: Collector) => collector.behave('slow'),
  error: (collector: Collector) => collector.behave('error'),
  cut: (collector: Collector) => collector.behave('cut'),
  down: (collector: Collector) => collector[Symbol.asyncDispose](),
} as const

for (const [trouble, begin] of Object.entries(troubles)) {
  test(`a collector in trouble (${trouble}): no request notices, and the service ends within 2 s`, async () => {
    await using collector = await startCollector()
    await begin(collector)
    const service = await startTestService({ ...allOf(collector), OTEL_EXPORTER_OTLP_TIMEOUT: '3000' })
    for (let i = 0; i < 100; i++) assert.equal(await get(service, '/json'), 200)
    await until('spans are on their way', () => service.service.telemetry!.traces!.spans === 0)
    for (let i = 0; i < 100; i++) assert.equal(await get(service, '/json'), 200)
    const askedMs = performance.now()
    await service[Symbol.asyncDispose]()
    assert.ok(performance.now() - askedMs < 2_000)
  })
}

test('spans wait for a collector that is away for a while, and are exported when it is back', async () => {
  const first = await startCollector()
  const { port } = first
  await first[Symbol.asyncDispose]()
  const lines: string[] = []
  const log = pino({}, { write: (line: string) => void lines.push(line) })
  await using service = await startTestService(allOf({ url: `http://user:canary@127.0.0.1:${port}` }), { log })
  for (let i = 0; i < 10; i++) await get(service, '/json')
  await until('spans are on their way', () => service.service.telemetry!.traces!.spans === 0)
  await using collector = await startCollector({ port })
  await collector.until((spans) => spans.length === 10)
  assert.ok(!lines.join('').includes('canary'))
})

test('with a collector that never answers, what is kept is bounded, and all else is counted as dropped', async () => {
  await using collector = await startCollector()
  collector.behave('hang')
  await using service = await startTestService({ ...allOf(collector), OTEL_EXPORTER_OTLP_TIMEOUT: '5000' })
  const { traces } = service.service.telemetry!
  await get(service, '/json')
  await until('the first batch is on its way', () => collector.requests().length > 0)
  const wanted = 30_000
  const [trace] = await oneTrace(service)
  for (let i = 0; i < wanted; i++) {
    traces!.add(trace!)
    if (i % 1_000 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
  }
  const { exported, failed, dropped } = await outcomesOf(service)
  assert.deepEqual([exported, failed], [0, 0])
  // At most the queue and what the processor was given are kept.
  assert.ok(traces!.spans <= 16_384)
  assert.ok(dropped! >= wanted - 16_384 - 2_048 - 256, String(dropped))
})

/** The trace of a request, as it came to the queue. */
const oneTrace = async (service: TestService) => {
  const { traces } = service.service.telemetry!
  const add = traces!.add.bind(traces)
  const seen: Parameters<typeof add>[0][] = []
  traces!.add = (trace) => void seen.push(trace)
  await get(service, '/json')
  await until('the request is told of', () => seen.length === 1)
  traces!.add = add
  return seen
}
