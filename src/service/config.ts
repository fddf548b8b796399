import { availableParallelism, hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import * as z from 'zod'
import { InputError } from '../kit/errors.ts'
import { mistakesOf, shaped, textAs, wholeWithin } from '../kit/input.ts'

const whole = (preset: number, min: number, max: number) =>
  textAs(`a whole number from ${min} to ${max}`, wholeWithin(min, max)).default(preset)

const wholeOrAuto = (preset: number | 'auto', max: number) => {
  const cores = Math.min(availableParallelism(), max)
  const read = wholeWithin(1, max)
  return textAs(`a whole number from 1 to ${max}, or auto (one for each core)`, (text) =>
    text === 'auto' ? cores : read(text),
  ).default(preset === 'auto' ? cores : preset)
}

const choice = <const Words extends readonly string[]>(words: Words) =>
  textAs(`one of ${words.join(', ')}`, (text): Words[number] | undefined => words.find((word) => word === text))

const oneOf = <const Words extends readonly string[]>(preset: Words[number], words: Words) =>
  choice(words).default(preset as never)

const word = (accepted: string, shape: RegExp) => textAs(accepted, shaped(shape))

const optionalWord = (accepted: string, shape: RegExp) => word(accepted, shape).optional()

const header = 'the name of a header, such as x-request-timeout'
const headerName = textAs(header, (text) => (/^[\w!#$%&'*+.^`|~-]{1,64}$/.test(text) ? text.toLowerCase() : undefined))

const address = 'a host name or an address'
const quota = 'a number of requests per second, minute or hour: 100/s, 6000/m, 50000/h'
const keyed =
  'name:key, separated by commas; a name of letters, digits and . - _; a key of 8 to 256 visible characters, each once'
const named = 'name=http://host:port/path, separated by commas; each name once, of letters, digits and - _'
const storage = 's3://bucket/prefix, or the path of a directory'
const redisUrl = 'a URL such as redis://:password@host:6379/0, or rediss:// for TLS'
const postgresUrl = 'a URL such as postgres://user:password@host:5432/database'

/** `a=1,b=2`, where each pair has this shape. */
const pairsOf = (text: string, separator: string, shape: RegExp): readonly [string, string][] | undefined => {
  const pairs = text.split(',')
  if (!pairs.every((pair) => shape.test(pair))) return undefined
  return pairs.map((pair) => [pair.slice(0, pair.indexOf(separator)), pair.slice(pair.indexOf(separator) + 1)])
}

/** Owners by key: somebody may have several, while one is replaced by the next, but a key has one owner. */
const readKeys = (text: string): ReadonlyMap<string, string> | undefined => {
  const pairs = pairsOf(text, ':', /^[\w.-]{1,64}:[\x21-\x7e]{8,256}$/)
  const owners = new Map(pairs?.map(([name, key]) => [key, name]))
  return owners.size === pairs?.length ? owners : undefined
}

const readUpstreams = (text: string): Readonly<Record<string, string>> | undefined => {
  const pairs = pairsOf(text, '=', /^[\w-]{1,64}=https?:\/\/\S+$/)
  const urls = Object.fromEntries(pairs ?? [])
  return Object.keys(urls).length === pairs?.length ? urls : undefined
}

const secondMs = 1_000
const minuteMs = 60 * secondMs

/** In any case, as OpenTelemetry reads it. */
const truth = (text: string): boolean | undefined => (/^(true|false)$/i.test(text) ? /^t/i.test(text) : undefined)

const share = (text: string): number | undefined => {
  const value = /^\d*\.?\d+$/.test(text) ? Number(text) : NaN
  return value >= 0 && value <= 1 ? value : undefined
}

/** `a=1,b=2` with values in percent-encoding, as OpenTelemetry's variables have it. */
const readEncodedPairs = (text: string): Readonly<Record<string, string>> | undefined => {
  const pairs = pairsOf(text, '=', /^\s*[!-+\--<>-~]{1,255}=[ -~]*$/)
  try {
    return pairs && Object.fromEntries(pairs.map(([name, value]) => [name.trim(), decodeURIComponent(value.trim())]))
  } catch {
    return undefined
  }
}

const otlpProtocols = ['http/protobuf', 'http/json', 'grpc'] as const
const encodedPairs = 'name=value, separated by commas, with values in percent-encoding'
const httpUrl = 'an http or https URL'
const readUrl = (text: string) => (/^https?:\/\/\S+$/.test(text) && URL.canParse(text) ? text : undefined)
const optionalUrl = () => textAs(httpUrl, readUrl).optional()
const k8sName = () => optionalWord('a name of Kubernetes', /^[\w.-]{1,253}$/)

/** Every environment variable that the service reads, with what it accepts and its default. */
const knobs = z.object({
  HOST: word(address, /^[\w.:-]+$/).default('0.0.0.0'),
  PORT: whole(8080, 0, 65_535),
  ADMIN_HOST: word(address, /^[\w.:-]+$/).default('0.0.0.0'),
  ADMIN_PORT: whole(9464, 0, 65_535),
  WORKERS: wholeOrAuto(1, 128),
  INSTANCE: word('up to 128 letters, digits and . : - _', /^[\w.:-]{1,128}$/).default(hostname()),
  REVISION: optionalWord('a text', /^/),

  KEEP_ALIVE_TIMEOUT_MS: whole(65 * secondMs, 0, 10 * minuteMs),
  REQUEST_TIMEOUT_MS: whole(30 * secondMs, 1, 10 * minuteMs),
  MAX_BODY_BYTES: whole(1_048_576, 1, 1_073_741_824),
  MAX_WORK_MS: whole(minuteMs, 1, 60 * minuteMs),
  MAX_MEMORY_MB: whole(256, 1, 65_536),
  REPLIES: oneOf('direct', ['direct', 'koa']),

  DEADLINE_MS: whole(70 * secondMs, 1, 24 * 60 * minuteMs),
  DEADLINE_HEADER: headerName.default('request-timeout-ms'),

  ADMISSION: oneOf('fixed', ['fixed', 'adaptive', 'off']),
  MAX_IN_FLIGHT: whole(10_000, 1, 1_000_000),
  QUEUE_LENGTH: whole(100, 0, 1_000_000),
  QUEUE_TIMEOUT_MS: whole(secondMs, 1, 10 * minuteMs),
  QUEUE_ORDER: oneOf('fifo', ['fifo', 'lifo']),
  PRIORITY_HEADER: headerName.optional(),

  RATE_LIMIT: optionalWord(quota, /^[1-9]\d{0,8}\/[smh]$/),
  RATE_LIMIT_BURST: whole(0, 0, 1_000_000_000),
  RATE_LIMIT_KEYS: textAs(keyed, readKeys).optional(),
  RATE_LIMIT_KEY_HEADER: headerName.default('x-api-key'),
  RATE_LIMIT_ON_LOSS: oneOf('open', ['open', 'closed']),
  TRUSTED_PROXIES: whole(0, 0, 16),

  CACHE_URL: textAs(redisUrl, (url) => (/^rediss?:\/\/./.test(url) && URL.canParse(url) ? url : undefined)).optional(),
  CACHE_MAX_ENTRIES: whole(20_000, 0, 10_000_000),
  CACHE_TTL_MS: whole(10 * secondMs, 1, 24 * 60 * minuteMs),
  CACHE_STALE_MS: whole(30 * secondMs, 0, 24 * 60 * minuteMs),

  UPSTREAMS: textAs(named, readUpstreams).optional(),
  UPSTREAM_TIMEOUT_MS: whole(secondMs, 1, 10 * minuteMs),
  UPSTREAM_ATTEMPTS: whole(2, 1, 10),
  UPSTREAM_RETRY_BUDGET_PERCENT: whole(10, 0, 100),
  UPSTREAM_HEDGE_AFTER_MS: whole(0, 0, 10 * minuteMs),
  UPSTREAM_CONNECTIONS: whole(256, 1, 10_000),
  UPSTREAM_BREAKER_FAILURES: whole(5, 1, 10_000),
  UPSTREAM_BREAKER_OPEN_MS: whole(5 * secondMs, 1, 60 * minuteMs),

  UPLOADS: word(storage, /^(s3:\/\/[\w.-]{3,63}(\/[\w./-]*)?|[^\0:]+)$/).default(join(tmpdir(), 'plimsoll-uploads')),
  UPLOADS_S3_ENDPOINT: optionalUrl(),
  UPLOADS_S3_REGION: word('the name of a region', /^[\w-]{1,64}$/).default('us-east-1'),
  MAX_UPLOAD_BYTES: whole(5 * 1024 ** 3, 1, 5 * 1024 ** 4),
  UPLOAD_IDLE_TIMEOUT_MS: whole(30 * secondMs, 1, 60 * minuteMs),

  ADMIN_TOKEN: optionalWord('16 to 256 visible ASCII characters', /^[\x21-\x7e]{16,256}$/),

  THREADS: wholeOrAuto('auto', 128),
  THREAD_QUEUE: whole(64, 0, 100_000),

  DATABASE_URL: optionalWord(postgresUrl, /^postgres(ql)?:\/\/.+/),
  DATABASE_PIPELINES: whole(1, 1, 16),
  DATABASE_POOL: whole(8, 1, 500),
  DATABASE_MAX_WAITING: whole(256, 0, 100_000),
  DATABASE_ACQUIRE_TIMEOUT_MS: whole(2 * secondMs, 1, 10 * minuteMs),
  DATABASE_STATEMENT_TIMEOUT_MS: whole(5 * secondMs, 1, 60 * minuteMs),

  DRAIN_DELAY_MS: whole(5 * secondMs, 0, 10 * minuteMs),
  DRAIN_TIMEOUT_MS: whole(20 * secondMs, 0, 60 * minuteMs),

  TELEMETRY: oneOf('on', ['on', 'off']),
  SLO_MS: whole(250, 1, 10 * minuteMs),
  SLOW_REQUEST_MS: whole(secondMs, 1, 60 * minuteMs),

  OTEL_SDK_DISABLED: textAs('true or false', truth).default(false),
  OTEL_SERVICE_NAME: optionalWord('a text', /^/),
  OTEL_RESOURCE_ATTRIBUTES: textAs(encodedPairs, readEncodedPairs).optional(),
  OTEL_TRACES_EXPORTER: choice(['otlp', 'console', 'none']).optional(),
  OTEL_EXPORTER_OTLP_ENDPOINT: optionalUrl(),
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: optionalUrl(),
  OTEL_EXPORTER_OTLP_PROTOCOL: oneOf('http/protobuf', otlpProtocols),
  OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: choice(otlpProtocols).optional(),
  OTEL_EXPORTER_OTLP_HEADERS: textAs(encodedPairs, readEncodedPairs).optional(),
  OTEL_EXPORTER_OTLP_TRACES_HEADERS: textAs(encodedPairs, readEncodedPairs).optional(),
  OTEL_EXPORTER_OTLP_TIMEOUT: whole(10 * secondMs, 1, 10 * minuteMs),
  OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: whole(0, 1, 10 * minuteMs),
  OTEL_TRACES_SAMPLER: oneOf('parentbased_traceidratio', [
    'parentbased_traceidratio',
    'parentbased_always_on',
    'parentbased_always_off',
    'traceidratio',
    'always_on',
    'always_off',
  ]),
  OTEL_TRACES_SAMPLER_ARG: textAs('a number from 0 to 1', share).default(0.1),
  OTEL_BSP_MAX_QUEUE_SIZE: whole(2_048, 1, 1_000_000),
  OTEL_BSP_MAX_EXPORT_BATCH_SIZE: whole(512, 1, 100_000),
  OTEL_BSP_SCHEDULE_DELAY: whole(secondMs, 1, 10 * minuteMs),

  POD_NAME: k8sName(),
  POD_NAMESPACE: k8sName(),
  POD_UID: k8sName(),
  NODE_NAME: k8sName(),

  LOG_LEVEL: oneOf('info', ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']),
})

/** The names of all of them. */
export const knobNames: readonly string[] = Object.keys(knobs.shape)

export type Build = { readonly name: string; readonly version: string; readonly revision: string }

export type Config = ReturnType<typeof shapeConfig>

/**
 * Reads the service's whole configuration. Nothing else below `cli/` reads the environment.
 * An empty variable counts as absent. Throws `InputError` with all mistakes together.
 */
export const parseConfig = (env: Readonly<Record<string, string | undefined>>, build: Build): Config => {
  const given = Object.fromEntries(knobNames.map((name) => [name, env[name] || undefined]))
  // It runs once: zod need not compile a function for it.
  const result = knobs.safeParse(given, { jitless: true })
  if (!result.success) throw new InputError(mistakesOf(knobs, given, result.error).map(hideSecret))
  return shapeConfig(result.data, build)
}

const secrets = new Set([
  'DATABASE_URL',
  'CACHE_URL',
  'UPSTREAMS',
  'RATE_LIMIT_KEYS',
  'ADMIN_TOKEN',
  'UPLOADS_S3_ENDPOINT',
  'OTEL_EXPORTER_OTLP_ENDPOINT',
  'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT',
  'OTEL_EXPORTER_OTLP_HEADERS',
  'OTEL_EXPORTER_OTLP_TRACES_HEADERS',
])

// A connection string carries a password: a mistake in it is told without the value.
const hideSecret = <T extends { field: string; value: unknown }>(mistake: T): T =>
  secrets.has(mistake.field) && mistake.value !== undefined ? { ...mistake, value: '(hidden)' } : mistake

const shapeConfig = (knob: z.output<typeof knobs>, build: Build) =>
  Object.freeze({
    build: { ...build, revision: knob.REVISION ?? build.revision },
    instance: knob.INSTANCE,
    http: {
      host: knob.HOST,
      port: knob.PORT,
      keepAliveTimeoutMs: knob.KEEP_ALIVE_TIMEOUT_MS,
      requestTimeoutMs: knob.REQUEST_TIMEOUT_MS,
      maxBodyBytes: knob.MAX_BODY_BYTES,
      replies: knob.REPLIES,
    },
    admin: { host: knob.ADMIN_HOST, port: knob.ADMIN_PORT, token: knob.ADMIN_TOKEN },
    deadline: { defaultMs: knob.DEADLINE_MS, header: knob.DEADLINE_HEADER },
    admission: {
      mode: knob.ADMISSION,
      maxInFlight: knob.MAX_IN_FLIGHT,
      queueLength: knob.QUEUE_LENGTH,
      queueTimeoutMs: knob.QUEUE_TIMEOUT_MS,
      queueOrder: knob.QUEUE_ORDER,
      /** Undefined: no request can say how important it is. */
      priorityHeader: knob.PRIORITY_HEADER,
    },
    rateLimit: knob.RATE_LIMIT === undefined ? undefined : shapeRateLimit(knob, knob.RATE_LIMIT),
    cache: {
      /** Undefined: entries live in memory. Rate limits are kept there, too. */
      url: knob.CACHE_URL,
      maxEntries: knob.CACHE_MAX_ENTRIES,
      ttlMs: knob.CACHE_TTL_MS,
      staleMs: knob.CACHE_STALE_MS,
    },
    upstreams: {
      /** Undefined: the service's own wait endpoints. */
      urls: knob.UPSTREAMS,
      timeoutMs: knob.UPSTREAM_TIMEOUT_MS,
      attempts: knob.UPSTREAM_ATTEMPTS,
      retryBudget: knob.UPSTREAM_RETRY_BUDGET_PERCENT / 100,
      /** 0: no hedged requests. */
      hedgeAfterMs: knob.UPSTREAM_HEDGE_AFTER_MS,
      connections: knob.UPSTREAM_CONNECTIONS,
      breakerFailures: knob.UPSTREAM_BREAKER_FAILURES,
      breakerOpenMs: knob.UPSTREAM_BREAKER_OPEN_MS,
    },
    uploads: {
      /** A directory, or `s3://bucket/prefix`. */
      storage: knob.UPLOADS,
      s3: { endpoint: knob.UPLOADS_S3_ENDPOINT, region: knob.UPLOADS_S3_REGION },
      maxBytes: knob.MAX_UPLOAD_BYTES,
      idleTimeoutMs: knob.UPLOAD_IDLE_TIMEOUT_MS,
    },
    workers: knob.WORKERS,
    work: { maxMs: knob.MAX_WORK_MS, maxMemoryMb: knob.MAX_MEMORY_MB },
    threads: { size: knob.THREADS, queueLength: knob.THREAD_QUEUE },
    database:
      knob.DATABASE_URL === undefined
        ? undefined
        : {
            url: knob.DATABASE_URL,
            pipelines: knob.DATABASE_PIPELINES,
            poolSize: knob.DATABASE_POOL,
            maxWaiting: knob.DATABASE_MAX_WAITING,
            acquireTimeoutMs: knob.DATABASE_ACQUIRE_TIMEOUT_MS,
            statementTimeoutMs: knob.DATABASE_STATEMENT_TIMEOUT_MS,
          },
    drain: { delayMs: knob.DRAIN_DELAY_MS, timeoutMs: knob.DRAIN_TIMEOUT_MS },
    /** Undefined: nothing is measured, traced, or logged of requests but what fails. */
    telemetry: knob.TELEMETRY === 'off' ? undefined : shapeTelemetry(knob),
    logLevel: knob.LOG_LEVEL,
  })

const shapeTelemetry = (knob: z.output<typeof knobs>) => ({
  sloMs: knob.SLO_MS,
  slowMs: knob.SLOW_REQUEST_MS,
  /** Undefined: nobody is named to send traces to. */
  tracing: hasTracing(knob) ? shapeTracing(knob) : undefined,
})

/** Without a collector nothing would be gained but an attempt each second to reach one at localhost. */
const hasTracing = (knob: z.output<typeof knobs>): boolean => {
  const endpoint = knob.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ?? knob.OTEL_EXPORTER_OTLP_ENDPOINT
  const exporter = knob.OTEL_TRACES_EXPORTER ?? (endpoint === undefined ? 'none' : 'otlp')
  return !knob.OTEL_SDK_DISABLED && exporter !== 'none'
}

const shapeTracing = (knob: z.output<typeof knobs>) => ({
  sampling: {
    parentBased: knob.OTEL_TRACES_SAMPLER.startsWith('parentbased_'),
    ratio: ratioOf(knob.OTEL_TRACES_SAMPLER, knob.OTEL_TRACES_SAMPLER_ARG),
  },
  exporter: knob.OTEL_TRACES_EXPORTER === 'console' ? ('console' as const) : ('otlp' as const),
  protocol: knob.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL ?? knob.OTEL_EXPORTER_OTLP_PROTOCOL,
  /** The base URL, to which HTTP's exporters add `/v1/traces`. */
  endpoint: knob.OTEL_EXPORTER_OTLP_ENDPOINT,
  /** The URL of traces alone, taken as it is. */
  tracesEndpoint: knob.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
  headers: knob.OTEL_EXPORTER_OTLP_TRACES_HEADERS ?? knob.OTEL_EXPORTER_OTLP_HEADERS ?? {},
  timeoutMs: knob.OTEL_EXPORTER_OTLP_TRACES_TIMEOUT || knob.OTEL_EXPORTER_OTLP_TIMEOUT,
  queueSize: knob.OTEL_BSP_MAX_QUEUE_SIZE,
  batchSize: knob.OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
  delayMs: knob.OTEL_BSP_SCHEDULE_DELAY,
  /** What is said of this process with each span, beside what the SDK finds out. */
  resource: {
    ...given('k8s.pod.name', knob.POD_NAME),
    ...given('k8s.namespace.name', knob.POD_NAMESPACE),
    ...given('k8s.pod.uid', knob.POD_UID),
    ...given('k8s.node.name', knob.NODE_NAME),
    'service.name': 'plimsoll',
    ...knob.OTEL_RESOURCE_ATTRIBUTES,
    ...given('service.name', knob.OTEL_SERVICE_NAME),
  },
})

const ratioOf = (sampler: string, ratio: number): number =>
  sampler.endsWith('always_on') ? 1 : sampler.endsWith('always_off') ? 0 : ratio

const given = (name: string, value: string | undefined): Readonly<Record<string, string>> =>
  value === undefined ? {} : { [name]: value }

const windowSeconds = { s: 1, m: 60, h: 3_600 } as const

const shapeRateLimit = (knob: z.output<typeof knobs>, limit: string) => {
  const [requests, per] = limit.split('/') as [string, keyof typeof windowSeconds]
  return {
    requests: Number(requests),
    windowSeconds: windowSeconds[per],
    /** How many may come at once after a pause. */
    burst: knob.RATE_LIMIT_BURST === 0 ? Number(requests) : knob.RATE_LIMIT_BURST,
    /** Known API keys and the names of their owners; any other key counts for nothing. */
    keys: knob.RATE_LIMIT_KEYS ?? new Map<string, string>(),
    keyHeader: knob.RATE_LIMIT_KEY_HEADER,
    onLoss: knob.RATE_LIMIT_ON_LOSS,
    /** How many proxies in front write `X-Forwarded-For`; 0: the address is that of the connection. */
    trustedProxies: knob.TRUSTED_PROXIES,
  }
}

/** Which worker this process is, where `workers.ts` has started it. */
export const workerNumber = (env: Readonly<Record<string, string | undefined>>): number | undefined =>
  env['PLIMSOLL_WORKER'] === undefined ? undefined : Number(env['PLIMSOLL_WORKER'])
