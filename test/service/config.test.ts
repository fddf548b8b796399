import assert from 'node:assert/strict'
import { availableParallelism, hostname } from 'node:os'
import { test } from 'node:test'
import { InputError } from '../../src/kit/errors.ts'
import { type Config, parseConfig, workerNumber } from '../../src/service/config.ts'

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
  admin: { host: '0.0.0.0', port: 9464 },
  workers: 1,
  work: { maxMs: 60_000, maxMemoryMb: 256 },
  threads: { size: Math.min(cores, 128), queueLength: 64 },
  database: undefined,
  drain: { delayMs: 5_000, timeoutMs: 20_000 },
  logLevel: 'info',
}

test('an empty environment gives the defaults', () => {
  assert.deepEqual(parse(), defaults)
  assert.ok(Object.isFrozen(parse()))
})

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
    ['DRAIN_DELAY_MS', '7', ({ drain }) => drain.delayMs, 7],
    ['DRAIN_TIMEOUT_MS', '8', ({ drain }) => drain.timeoutMs, 8],
    ['LOG_LEVEL', 'silent', ({ logLevel }) => logLevel, 'silent'],
  ]

for (const [name, value, read, expected] of settings) {
  test(`${name} is read, and empty it counts as absent`, () => {
    assert.equal(read(parse({ [name]: value })), expected)
    assert.notEqual(read(parse()), expected)
    assert.deepEqual(parse({ [name]: '' }), defaults)
  })
}

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

test('the value of a wrong database URL, which may hold a password, is told nowhere', () => {
  for (const wrong of ['mysql://ann:canary@host/db', 'canary', 'postgres:/canary', ' postgres://canary']) {
    const error = refusal({ DATABASE_URL: wrong, PORT: 'x' })
    assert.deepEqual(error.mistakes.map(({ field }) => field).toSorted(), ['DATABASE_URL', 'PORT'])
    assert.doesNotMatch(`${error.message} ${error.stack} ${JSON.stringify(error)}`, /canary/)
  }
})

test('what is not a variable of the service is not looked at', () => {
  assert.deepEqual(parse({ PATH: '/bin', PORTS: 'x', port: 'y' }), defaults)
})

test('only a process that was started as a worker has a worker number', () => {
  assert.equal(workerNumber({}), undefined)
  assert.equal(workerNumber({ PLIMSOLL_WORKER: '3' }), 3)
})
