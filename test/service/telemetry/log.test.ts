import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseConfig } from '../../../src/service/config.ts'
import { secretsOf } from '../../../src/service/secrets.ts'
import { createLog } from '../../../src/service/telemetry/log.ts'
import { describeError } from '../../../src/service/telemetry/log-error.ts'
import { redactLine } from '../../../src/service/telemetry/log-redaction.ts'
import { tellLog } from '../../../src/service/telemetry/request-log.ts'
import type { Told } from '../../../src/service/telemetry/requests.ts'
import { Trace } from '../../../src/kit/trace.ts'
import { VirtualClock } from '../work/virtual-clock.ts'

const build = { name: 'plimsoll', version: '0.0.0', revision: 'test' }

const start = (env: Record<string, string> = {}) => {
  const written: string[] = []
  const log = createLog({
    config: parseConfig(env, build),
    instance: 'pod-1/2',
    output: { write: (line) => written.push(line) },
  })
  const lines = (): Record<string, unknown>[] => written.map((line) => JSON.parse(line) as Record<string, unknown>)
  return { log, written, lines }
}

const thrownBy = (act: () => unknown): unknown => {
  try {
    act()
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}

test('a line is a JSON object with the level as a word, the time in ms, the instance and the message', () => {
  const { log, written, lines } = start()
  log.warn({ worker: 2 }, 'something')
  const [{ time, ...line }] = lines() as [Record<string, unknown>]
  assert.deepEqual(line, { level: 'warn', instance: 'pod-1/2', worker: 2, msg: 'something' })
  assert.equal(typeof time, 'number')
  assert.match(written[0]!, /^[^\n]+\n$/)
})

const told: Told = {
  reason: 'sampled',
  method: 'GET',
  route: '/items/:id',
  status: 200,
  tookMs: 1.23456,
  problem: undefined,
  failure: undefined,
  requestId: undefined,
  trace: undefined,
}

const newTrace = (): Trace =>
  new Trace({
    clock: new VirtualClock(),
    name: '',
    kind: 'server',
    startMs: 0,
    sampled: true,
    newTraceId: () => 'a'.repeat(32),
    newSpanId: () => 'b'.repeat(16),
  })

test('a sampled request has its method, route, status, time and the ids of its trace, and nothing more', () => {
  const { log, lines } = start()
  tellLog(log)({ ...told, trace: newTrace() })
  const [{ time: _, ...line }] = lines() as [Record<string, unknown>]
  assert.deepEqual(line, {
    level: 'info',
    instance: 'pod-1/2',
    reason: 'sampled',
    method: 'GET',
    route: '/items/:id',
    status: 200,
    tookMs: 1.235,
    trace_id: 'a'.repeat(32),
    span_id: 'b'.repeat(16),
    msg: 'request',
  })
})

test('a request that failed has the code and the id of its problem document, and the error', () => {
  const { log, lines } = start()
  const failure = Object.assign(new TypeError('broken'), { code: 'EBROKEN' })
  tellLog(log)({ ...told, reason: 'error', status: 500, problem: 'internal-error', requestId: 'r-1', failure })
  const [line] = lines()
  assert.equal(line!['level'], 'error')
  assert.equal(line!['problem'], 'internal-error')
  assert.equal(line!['requestId'], 'r-1')
  const { stack, ...err } = line!['err'] as Record<string, unknown>
  assert.deepEqual(err, { type: 'TypeError', message: 'broken', code: 'EBROKEN' })
  assert.match(String(stack), /^ {4}at .*log\.test\.ts/)
})

test('a slow request is a warning', () => {
  const { log, lines } = start()
  tellLog(log)({ ...told, reason: 'slow' })
  assert.equal(lines()[0]!['level'], 'warn')
})

const said = (thrown: unknown): string => JSON.stringify(describeError(thrown))

test('of an error only class, message, code and stack are told, and the same of its causes', () => {
  const cause = Object.assign(new Error('row is bad'), { detail: 'canary', where: 'canary', code: '23505' })
  const error = Object.assign(new Error('it failed', { cause }), { input: 'canary', request: { headers: ['canary'] } })
  const { stack: _, cause: told, ...rest } = describeError(error)
  const { stack: __, ...deeper } = told!
  assert.deepEqual(rest, { type: 'Error', message: 'it failed', code: undefined, errors: undefined })
  assert.deepEqual(deeper, { type: 'Error', message: 'row is bad', code: '23505', cause: undefined, errors: undefined })
  assert.ok(!said(error).includes('canary'))
})

test('an error is of the type that its name says, or else its class', () => {
  class DatabaseError extends Error {
    override readonly name = 'error'
  }
  const types = [new DatabaseError('a'), new TypeError('a'), new Error('a'), new DOMException('a', 'AbortError')]
  assert.deepEqual(
    types.map((error) => describeError(error).type),
    ['DatabaseError', 'TypeError', 'Error', 'AbortError'],
  )
})

test('the errors of an AggregateError are told, four of them', () => {
  const errors = Array.from({ length: 9 }, (_, i) => new Error(`address ${i}`))
  const described = describeError(new AggregateError(errors, 'none answered'))
  assert.equal(described.type, 'AggregateError')
  assert.deepEqual(
    described.errors!.map(({ message }) => message),
    ['address 0', 'address 1', 'address 2', 'address 3'],
  )
})

test('causes that go in circles come to an end', () => {
  const error = new Error('a')
  error.cause = new Error('b', { cause: error })
  assert.ok(said(error).length < 10_000)
})

test('what JSON.parse complains of is not quoted', () => {
  const error = thrownBy(() => JSON.parse('{"password": canary}'))
  assert.match((error as Error).message, /canary|can/)
  assert.ok(!/can|password/.test(said(error)), said(error))
})

const messageOfState = (code: string, message: string): string =>
  describeError(Object.assign(new Error(message), { severity: 'ERROR', code })).message

test('values in messages of PostgreSQL are not quoted, names are', () => {
  assert.equal(
    messageOfState('22P02', 'invalid input syntax for type uuid: "can"ary"'),
    'invalid input syntax for type uuid: "…"',
  )
  assert.equal(
    messageOfState('22003', 'value "canary" is out of range for type integer'),
    'value "…" is out of range for type integer',
  )
  assert.equal(messageOfState('42P01', 'relation "items" does not exist'), 'relation "items" does not exist')
})

test('the value that a function of Node refuses is not told', () => {
  const error = thrownBy(() => Buffer.from(7 as never, 'canary' as never))
  assert.match((error as Error).message, /Received /)
  assert.ok(!/type number/.test(said(error)), said(error))
})

test('user information of a URL in a message is not told', () => {
  assert.equal(
    describeError(new Error('cannot parse https://user:canary@host/a or redis://:canary@b')).message,
    'cannot parse https://…@host/a or redis://…@b',
  )
})

test('a stack has frames only: the message in its head is told apart, however many lines it has', () => {
  const error = new Error('first\n    at canary (input:1:1)\nlast "canary"')
  const { stack } = describeError(error)
  assert.ok(!stack!.includes('canary'))
  assert.ok(stack!.startsWith('    at '))
})

test('what is thrown and no error is told by its kind', () => {
  assert.equal(describeError(Object.assign(Object.create(null), { message: 'bare' })).type, 'Error')
  for (const thrown of ['canary', { canary: 'canary' }, Symbol('canary'), 7, undefined, null]) {
    assert.deepEqual(describeError(thrown), { type: typeof thrown, message: 'thrown, but not an error' })
  }
})

test('an error is short, whatever it says', () => {
  let nested = new Error('y')
  for (let i = 0; i < 9; i++) nested = new Error('x'.repeat(9_000), { cause: nested })
  assert.ok(said(nested).length < 10_000)
})

const secretEnv = {
  DATABASE_URL: 'postgres://plain-user:pg%40-canary@db.example:5432/orders?application_name=orders-api',
  CACHE_URL: 'redis://:valkey-canary@cache.example:6379',
  UPSTREAMS: 'a=http://up-user:up-canary@a.example/x?token=query-canary,b=http://token-canary@b.example/',
  RATE_LIMIT: '100/s',
  RATE_LIMIT_KEYS: 'shop:key-canary-1,desk:key-canary-2',
  ADMIN_TOKEN: 'admin-canary-0123',
  OTEL_EXPORTER_OTLP_ENDPOINT: 'http://otlp:otlp-canary@collector.example:4318',
  OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20header-canary',
}

test('the secrets of a configuration are its passwords, tokens and keys, as they stand there and decoded', () => {
  const secrets = new Set(secretsOf(parseConfig(secretEnv, build)))
  for (const text of [
    'pg%40-canary',
    'pg@-canary',
    'valkey-canary',
    'up-canary',
    'query-canary',
    'token-canary',
    'key-canary-1',
    'key-canary-2',
    'admin-canary-0123',
    'otlp-canary',
    'header-canary',
    'Bearer header-canary',
  ]) {
    assert.ok(secrets.has(text), text)
  }
  for (const text of ['plain-user', 'orders-api', 'db.example', 'shop', '']) assert.ok(!secrets.has(text), text)
})

test('a configuration without secrets has none', () => {
  assert.deepEqual(secretsOf(parseConfig({ DATABASE_URL: 'postgres://postgres@localhost/db' }, build)), [])
})

test('a password that the name of the instance contains is no secret: every answer tells that name', () => {
  const env = {
    DATABASE_URL: 'postgres://plimsoll:plimsoll@db/plimsoll',
    INSTANCE: 'plimsoll-7f9c',
    ADMIN_TOKEN: 'admin-canary-0123',
  }
  assert.deepEqual(secretsOf(parseConfig(env, build)), ['admin-canary-0123'])
})

test('no secret of the configuration comes out of the log, wherever a line has it', () => {
  const { log, written, lines } = start(secretEnv)
  const error = new Error('pg@-canary and key-canary-1', { cause: new Error('admin-canary-0123') })
  log.error({ err: error, requestId: 'key-canary-2', deep: [{ 'header-canary': 'up-canary' }] }, 'valkey-canary')
  assert.ok(!written.join('').includes('canary'), written.join(''))
  assert.equal(lines()[0]!['msg'], '[redacted]')
  assert.equal((lines()[0]!['err'] as { message: string }).message, '[redacted] and [redacted]')
})

test('a secret that JSON writes with escapes is found, and one of digits does not break numbers', () => {
  const redact = redactLine(['quo"te\\slash', '123456'])
  const line = `${JSON.stringify({ time: 1_234_567, text: 'a quo"te\\slash 123456' })}\n`
  assert.equal(redact(line), '{"time":1234567,"text":"a [redacted] [redacted]"}\n')
})

test('of two secrets of which one holds the other nothing is left', () => {
  assert.equal(redactLine(['secret', 'secret-long'])('{"a":"secret-long"}\n'), '{"a":"[redacted]"}\n')
})
