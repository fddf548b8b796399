import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { availableParallelism, hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { InputError } from '../../src/kit/errors.ts'
import { type Config, knobNames, parseConfig, workerNumber } from '../../src/service/config.ts'

const build = { name: 'plimsoll', version: '1.2.3', revision: 'abc' }
const cores = availableParallelism()

type Env = Readonly<Record<string, string | undefined>>

const parse = (env: Env = {}): Config => parseConfig(env, build)

const refusal = (env: Env): InputError => {
  try {
    parse(env)
  } catch (error) {
    assert.ok(error instanceof InputError, String(error))
    return error
  }
  return assert.fail(`accepted ${JSON.stringify(env)}`)
}

const defaults: Config = {
  build,
  instance: hostname(),
  http: {
    host: '0.0.0.0',
    port: 8080,
    keepAliveTimeoutMs: 65_000,
    requestTimeoutMs: 30_000,
    maxBodyBytes: 1_048_576,
    replies: 'direct',
  },
  admin: { host: '0.0.0.0', port: 9464, token: undefined },
  deadline: { defaultMs: 70_000, header: 'request-timeout-ms' },
  admission: {
    mode: 'fixed',
    maxInFlight: 10_000,
    queueLength: 100,
    queueTimeoutMs: 1_000,
    queueOrder: 'fifo',
    priorityHeader: undefined,
  },
  rateLimit: undefined,
  cache: { url: undefined, maxEntries: 20_000, ttlMs: 10_000, staleMs: 30_000 },
  upstreams: {
    urls: undefined,
    timeoutMs: 1_000,
    attempts: 2,
    retryBudget: 0.1,
    hedgeAfterMs: 0,
    connections: 256,
    breakerFailures: 5,
    breakerOpenMs: 5_000,
  },
  uploads: {
    storage: join(tmpdir(), 'plimsoll-uploads'),
    s3: { endpoint: undefined, region: 'us-east-1' },
    maxBytes: 5 * 1024 ** 3,
    idleTimeoutMs: 30_000,
  },
  workers: 1,
  work: { maxMs: 60_000, maxMemoryMb: 256 },
  threads: { size: Math.min(cores, 128), queueLength: 64 },
  database: undefined,
  drain: { delayMs: 5_000, timeoutMs: 20_000 },
  telemetry: { sloMs: 250, slowMs: 1_000, tracing: undefined },
  logLevel: 'info',
}

test('an empty environment gives the defaults', () => {
  assert.deepEqual(parse(), defaults)
  assert.ok(Object.isFrozen(parse()))
})

const envoyHeader = 'x-envoy-expected-rq-timeout-ms'

/** Every variable, a value that is not its default, and where it ends up. */
const settings: readonly (readonly [name: string, value: string, read: (config: Config) => unknown, read: unknown])[] =
  [
    ['HOST', '::1', ({ http }) => http.host, '::1'],
    ['PORT', '0', ({ http }) => http.port, 0],
    ['ADMIN_HOST', 'localhost', ({ admin }) => admin.host, 'localhost'],
    ['ADMIN_PORT', '65535', ({ admin }) => admin.port, 65_535],
    ['WORKERS', '3', ({ workers }) => workers, 3],
    ['INSTANCE', 'pod-7.x:1_a', ({ instance }) => instance, 'pod-7.x:1_a'],
    ['REVISION', 'def', (config) => config.build.revision, 'def'],
    ['KEEP_ALIVE_TIMEOUT_MS', '1', ({ http }) => http.keepAliveTimeoutMs, 1],
    ['REQUEST_TIMEOUT_MS', '2', ({ http }) => http.requestTimeoutMs, 2],
    ['MAX_BODY_BYTES', '3', ({ http }) => http.maxBodyBytes, 3],
    ['MAX_WORK_MS', '4', ({ work }) => work.maxMs, 4],
    ['MAX_MEMORY_MB', '5', ({ work }) => work.maxMemoryMb, 5],
    ['REPLIES', 'koa', ({ http }) => http.replies, 'koa'],
    ['THREADS', '6', ({ threads }) => threads.size, 6],
    ['THREAD_QUEUE', '0', ({ threads }) => threads.queueLength, 0],
    ['DEADLINE_MS', '250', ({ deadline }) => deadline.defaultMs, 250],
    ['DEADLINE_HEADER', 'X-Envoy-Expected-Rq-Timeout-Ms', ({ deadline }) => deadline.header, envoyHeader],
    ['ADMISSION', 'adaptive', ({ admission }) => admission.mode, 'adaptive'],
    ['MAX_IN_FLIGHT', '1', ({ admission }) => admission.maxInFlight, 1],
    ['QUEUE_LENGTH', '0', ({ admission }) => admission.queueLength, 0],
    ['QUEUE_TIMEOUT_MS', '9', ({ admission }) => admission.queueTimeoutMs, 9],
    ['QUEUE_ORDER', 'lifo', ({ admission }) => admission.queueOrder, 'lifo'],
    ['PRIORITY_HEADER', 'X-Priority', ({ admission }) => admission.priorityHeader, 'x-priority'],
    ['RATE_LIMIT', '600/m', ({ rateLimit }) => rateLimit?.requests, 600],
    ['CACHE_MAX_ENTRIES', '0', ({ cache }) => cache.maxEntries, 0],
    ['CACHE_TTL_MS', '10', ({ cache }) => cache.ttlMs, 10],
    ['CACHE_STALE_MS', '0', ({ cache }) => cache.staleMs, 0],
    ['CACHE_URL', 'redis://localhost/1', ({ cache }) => cache.url, 'redis://localhost/1'],
    ['UPSTREAM_TIMEOUT_MS', '11', ({ upstreams }) => upstreams.timeoutMs, 11],
    ['UPSTREAM_ATTEMPTS', '1', ({ upstreams }) => upstreams.attempts, 1],
    ['UPSTREAM_RETRY_BUDGET_PERCENT', '20', ({ upstreams }) => upstreams.retryBudget, 0.2],
    ['UPSTREAM_HEDGE_AFTER_MS', '12', ({ upstreams }) => upstreams.hedgeAfterMs, 12],
    ['UPSTREAM_CONNECTIONS', '13', ({ upstreams }) => upstreams.connections, 13],
    ['UPSTREAM_BREAKER_FAILURES', '14', ({ upstreams }) => upstreams.breakerFailures, 14],
    ['UPSTREAM_BREAKER_OPEN_MS', '15', ({ upstreams }) => upstreams.breakerOpenMs, 15],
    ['UPLOADS', 's3://bucket/some/prefix', ({ uploads }) => uploads.storage, 's3://bucket/some/prefix'],
    ['UPLOADS_S3_ENDPOINT', 'http://localhost:9000', ({ uploads }) => uploads.s3.endpoint, 'http://localhost:9000'],
    ['UPLOADS_S3_REGION', 'eu-central-1', ({ uploads }) => uploads.s3.region, 'eu-central-1'],
    ['MAX_UPLOAD_BYTES', '16', ({ uploads }) => uploads.maxBytes, 16],
    ['UPLOAD_IDLE_TIMEOUT_MS', '17', ({ uploads }) => uploads.idleTimeoutMs, 17],
    ['ADMIN_TOKEN', 'sixteen-or-longer', ({ admin }) => admin.token, 'sixteen-or-longer'],
    ['DRAIN_DELAY_MS', '7', ({ drain }) => drain.delayMs, 7],
    ['DRAIN_TIMEOUT_MS', '8', ({ drain }) => drain.timeoutMs, 8],
    ['TELEMETRY', 'off', ({ telemetry }) => telemetry, undefined],
    ['SLO_MS', '100', ({ telemetry }) => telemetry?.sloMs, 100],
    ['SLOW_REQUEST_MS', '200', ({ telemetry }) => telemetry?.slowMs, 200],
    ['OTEL_TRACES_EXPORTER', 'console', ({ telemetry }) => telemetry?.tracing?.exporter, 'console'],
    ['LOG_LEVEL', 'silent', ({ logLevel }) => logLevel, 'silent'],
  ]

for (const [name, value, read, expected] of settings) {
  test(`${name} is read, and empty it counts as absent`, () => {
    assert.equal(read(parse({ [name]: value })), expected)
    assert.notEqual(read(parse()), expected)
    assert.deepEqual(parse({ [name]: '' }), defaults)
  })
}

const collector = 'http://collector:4318'
const tracingOf = (env: Env) => parse({ OTEL_EXPORTER_OTLP_ENDPOINT: collector, ...env }).telemetry?.tracing

test('traces are made where somebody is named to send them to, one request in ten by default', () => {
  assert.equal(tracingOf({ OTEL_EXPORTER_OTLP_ENDPOINT: '' }), undefined)
  assert.equal(tracingOf({ OTEL_TRACES_EXPORTER: 'none' }), undefined)
  assert.equal(tracingOf({ OTEL_SDK_DISABLED: 'TRUE' }), undefined)
  assert.deepEqual(tracingOf({}), {
    sampling: { parentBased: true, ratio: 0.1 },
    exporter: 'otlp',
    protocol: 'http/protobuf',
    endpoint: collector,
    tracesEndpoint: undefined,
    headers: {},
    timeoutMs: 10_000,
    queueSize: 2_048,
    batchSize: 512,
    delayMs: 1_000,
    resource: { 'service.name': 'plimsoll' },
  })
})

test('what is said of traces alone stands above what is said of all that is exported', () => {
  const { protocol, headers, timeoutMs } = tracingOf({
    OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'http/json',
    OTEL_EXPORTER_OTLP_HEADERS: 'a=1',
    OTEL_EXPORTER_OTLP_TRACES_HEADERS: 'b=2',
    OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: '500',
  })!
  assert.deepEqual([protocol, headers, timeoutMs], ['http/json', { b: '2' }, 500])
})

test("the samplers of OpenTelemetry's names are a ratio, and whether a parent is followed", () => {
  const sampling = (name: string, ratio = '0.25') =>
    tracingOf({ OTEL_TRACES_SAMPLER: name, OTEL_TRACES_SAMPLER_ARG: ratio })?.sampling
  assert.deepEqual(sampling('always_on'), { parentBased: false, ratio: 1 })
  assert.deepEqual(sampling('always_off'), { parentBased: false, ratio: 0 })
  assert.deepEqual(sampling('traceidratio'), { parentBased: false, ratio: 0.25 })
  assert.deepEqual(sampling('parentbased_traceidratio', '.5'), { parentBased: true, ratio: 0.5 })
  assert.deepEqual(sampling('parentbased_always_on'), { parentBased: true, ratio: 1 })
  assert.deepEqual(sampling('parentbased_always_off'), { parentBased: true, ratio: 0 })
  assert.throws(() => sampling('jaeger_remote'), /parentbased_always_on/)
  for (const ratio of ['1.1', '-1', '1e-3', 'a']) assert.throws(() => sampling('traceidratio', ratio), InputError)
})

test('attributes of the resource are decoded, and the name of the service stands above them', () => {
  const OTEL_RESOURCE_ATTRIBUTES = 'team=a%20b,service.name=other'
  assert.deepEqual(tracingOf({ OTEL_RESOURCE_ATTRIBUTES, POD_NAME: 'web-0', POD_UID: 'u', NODE_NAME: 'n' })?.resource, {
    'service.name': 'other',
    team: 'a b',
    'k8s.pod.name': 'web-0',
    'k8s.pod.uid': 'u',
    'k8s.node.name': 'n',
  })
  const { resource } = tracingOf({ OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME: 'mine' })!
  assert.equal(resource['service.name'], 'mine')
  for (const wrong of ['nothing', 'a=%zz', '=b']) {
    assert.throws(() => tracingOf({ OTEL_RESOURCE_ATTRIBUTES: wrong }), InputError, wrong)
  }
})

test('the headers for the collector are not shown with a mistake in them', () => {
  for (const name of ['OTEL_EXPORTER_OTLP_HEADERS', 'OTEL_EXPORTER_OTLP_TRACES_HEADERS']) {
    assert.throws(
      () => tracingOf({ [name]: 'canary' }),
      (error) => error instanceof InputError && !error.message.includes('canary'),
    )
  }
})

const url = 'postgres://ann:canary@localhost:5432/shop'

test('a database URL turns the database on, with its defaults and its settings', () => {
  const given = { pipelines: 1, poolSize: 8, maxWaiting: 256, acquireTimeoutMs: 2_000, statementTimeoutMs: 5_000 }
  assert.deepEqual(parse({ DATABASE_URL: url }).database, { url, ...given })
  const env = {
    DATABASE_URL: 'postgresql://h/d',
    DATABASE_PIPELINES: '2',
    DATABASE_POOL: '3',
    DATABASE_MAX_WAITING: '4',
    DATABASE_ACQUIRE_TIMEOUT_MS: '5',
    DATABASE_STATEMENT_TIMEOUT_MS: '6',
  }
  const changed = { pipelines: 2, poolSize: 3, maxWaiting: 4, acquireTimeoutMs: 5, statementTimeoutMs: 6 }
  assert.deepEqual(parse(env).database, { url: 'postgresql://h/d', ...changed })
  assert.equal(parse({ ...env, DATABASE_URL: '' }).database, undefined)
})

test('auto is one for each core', () => {
  assert.equal(parse({ WORKERS: 'auto' }).workers, Math.min(cores, 128))
  assert.equal(parse({ THREADS: 'auto' }).threads.size, Math.min(cores, 128))
  assert.equal(refusal({ PORT: 'auto' }).mistakes.length, 1)
})

test('all mistakes are told at once, with the value and what is accepted', () => {
  const { mistakes, message } = refusal({
    PORT: '70000',
    WORKERS: 'many',
    REPLIES: 'fast',
    HOST: 'a b',
    LOG_LEVEL: 'loud',
  })
  assert.deepEqual(
    mistakes.toSorted((a, b) => (a.field < b.field ? -1 : 1)),
    [
      { field: 'HOST', value: 'a b', accepted: 'a host name or an address' },
      { field: 'LOG_LEVEL', value: 'loud', accepted: 'one of fatal, error, warn, info, debug, trace, silent' },
      { field: 'PORT', value: '70000', accepted: 'a whole number from 0 to 65535' },
      { field: 'REPLIES', value: 'fast', accepted: 'one of direct, koa' },
      { field: 'WORKERS', value: 'many', accepted: 'a whole number from 1 to 128, or auto (one for each core)' },
    ],
  )
  for (const name of ['PORT', 'WORKERS', 'REPLIES', 'HOST', 'LOG_LEVEL'])
    assert.match(message, new RegExp(`^${name}: got "`, 'm'))
})

test('only decimal digits are a number', () => {
  for (const value of [
    '-1',
    '+1',
    ' 1',
    '1 ',
    '1.0',
    '1e3',
    '0x10',
    'NaN',
    'Infinity',
    '1_000',
    '\u0661',
    '9'.repeat(16),
  ]) {
    assert.deepEqual(
      refusal({ PORT: value }).mistakes.map(({ field }) => field),
      ['PORT'],
      value,
    )
  }
})

test('a number is accepted up to its bounds and not beyond', () => {
  for (const [name, min, max] of [
    ['PORT', 0, 65_535],
    ['WORKERS', 1, 128],
    ['THREADS', 1, 128],
    ['REQUEST_TIMEOUT_MS', 1, 600_000],
    ['MAX_BODY_BYTES', 1, 1_073_741_824],
  ] as const) {
    for (const good of [min, max]) parse({ [name]: String(good) })
    for (const bad of [min - 1, max + 1])
      assert.equal(refusal({ [name]: String(bad) }).mistakes.length, 1, `${name}=${bad}`)
  }
})

/** Wrong values of what holds a secret, each with one in it. */
const leaks: Readonly<Record<string, readonly string[]>> = {
  DATABASE_URL: ['mysql://ann:canary@host/db', 'canary', 'postgres:/canary', ' postgres://canary'],
  CACHE_URL: ['http://:canary@host', 'canary', 'redis://:canary@host:port'],
  UPSTREAMS: ['canary', 'weather=ftp://ann:canary@host'],
  RATE_LIMIT_KEYS: ['ann:canary', 'canary-without-a-name', 'ann:canary-one,bob:canary-one'],
  ADMIN_TOKEN: ['canary', 'canary canary canary'],
}

for (const [name, wrong] of Object.entries(leaks)) {
  test(`the value of a wrong ${name}, which may hold a secret, is told nowhere`, () => {
    for (const value of wrong) {
      const error = refusal({ [name]: value, PORT: 'x' })
      assert.deepEqual(error.mistakes.map(({ field }) => field).toSorted(), [name, 'PORT'].toSorted())
      assert.doesNotMatch(`${error.message} ${error.stack} ${JSON.stringify(error)}`, /canary/)
    }
  })
}

test('a rate limit is a number of requests per second, minute or hour, with its settings', () => {
  assert.deepEqual(parse({ RATE_LIMIT: '6000/m' }).rateLimit, {
    requests: 6_000,
    windowSeconds: 60,
    burst: 6_000,
    keys: new Map(),
    keyHeader: 'x-api-key',
    onLoss: 'open',
    trustedProxies: 0,
  })
  const env = {
    RATE_LIMIT: '10/h',
    RATE_LIMIT_BURST: '3',
    RATE_LIMIT_KEYS: 'ann:first-key,bob:second:key,ann:third-key',
    RATE_LIMIT_KEY_HEADER: 'Api-Key',
    RATE_LIMIT_ON_LOSS: 'closed',
    TRUSTED_PROXIES: '2',
  }
  assert.deepEqual(parse(env).rateLimit, {
    requests: 10,
    windowSeconds: 3_600,
    burst: 3,
    keys: new Map([
      ['first-key', 'ann'],
      ['second:key', 'bob'],
      ['third-key', 'ann'],
    ]),
    keyHeader: 'api-key',
    onLoss: 'closed',
    trustedProxies: 2,
  })
  for (const wrong of ['0/s', '10', '10/d', '1.5/s', '-1/s', '10/']) refusal({ RATE_LIMIT: wrong })
})

test('upstreams are names with their URLs', () => {
  const { urls } = parse({ UPSTREAMS: 'a=http://h:1/x?y=1&z=2,b-2=https://i/' }).upstreams
  assert.deepEqual(urls, { a: 'http://h:1/x?y=1&z=2', 'b-2': 'https://i/' })
  for (const wrong of ['a', 'a=h:1', 'a=http://h,', 'a b=http://h', 'a=http://h,a=http://i'])
    refusal({ UPSTREAMS: wrong })
})

test("README's table of the configuration names every variable", () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
  const table = new Set(readme.slice(readme.indexOf('### Configuration')).match(/(?<=`)[A-Z_\d]+(?=`)/g))
  const missing = knobNames.filter((name) => !table.has(name))
  assert.deepEqual(missing, [])
})

test('what is not a variable of the service is not looked at', () => {
  assert.deepEqual(parse({ PATH: '/bin', PORTS: 'x', port: 'y' }), defaults)
})

test('only a process that was started as a worker has a worker number', () => {
  assert.equal(workerNumber({}), undefined)
  assert.equal(workerNumber({ PLIMSOLL_WORKER: '3' }), 3)
})
