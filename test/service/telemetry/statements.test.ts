import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClientBase } from 'pg'
import { Failure } from '../../../src/kit/errors.ts'
import { Line } from '../../../src/service/db/line.ts'
import { statement } from '../../../src/service/db/statement.ts'
import { StatementTelemetry } from '../../../src/service/telemetry/statements.ts'
import { cancelOf, recordedTrace, told } from '../../support/trace.ts'
import { VirtualClock } from '../work/virtual-clock.ts'

/** What pg's client calls on a query that it was given. */
type Query = {
  submit(wire: object): unknown
  handleReadyForQuery(): void
  handleError(error: unknown): void
}

const url = 'postgres://user:secret@db.test:6000/shop'

/** A line whose server is played by the test. */
const observed = () => {
  const clock = new VirtualClock()
  const telemetry = new StatementTelemetry({ url, clock })
  const wire = {
    stream: { writable: true, write: () => true, destroy: () => {} },
    parsedStatements: {},
    submittedNamedStatements: {},
  }
  const sent: Query[] = []
  const query = (it: Query): void => {
    it.submit(wire)
    sent.push(it)
  }
  // Where a cancel would be sent to: nobody is there.
  const backend = { host: '127.0.0.1', port: 1, ssl: false, sslNegotiation: 'postgres', processID: 1, secretKey: 2 }
  const client = { ...backend, connection: wire, query, getTransactionStatus: () => 'I' }
  return { clock, telemetry, sent, line: new Line(client as unknown as ClientBase, 'at-once', telemetry) }
}

const read = statement<string, [id: number]>('read', 'select name from things where id = $1', ([name]) => name!)

const serverError = (code: string): Error => Object.assign(new Error('its words'), { code, severity: 'ERROR' })

/** How often, and for how many seconds together, by the type of error. */
const counts = (telemetry: StatementTelemetry): Record<string, readonly [count: number, seconds: number]> => {
  const end = (suffix: string) => telemetry.durations().filter(({ metricName }) => metricName?.endsWith(suffix))
  const sums = end('_sum').map(({ value }) => value)
  return Object.fromEntries(end('_count').map(({ labels, value }, i) => [labels['error_type'], [value, sums[i]!]]))
}

test('a statement lasts from when it is handed over until its answer', async () => {
  const { clock, telemetry, sent, line } = observed()
  const { root, spans } = recordedTrace(clock)
  await clock.advance(10)
  const answer = line.run(read, [7], cancelOf(root))
  await clock.advance(5)
  sent[0]!.handleReadyForQuery()
  await answer
  assert.deepEqual(spans.map(told), [['SELECT things', 10, 15, undefined]])
  assert.deepEqual(counts(telemetry), { '': [1, 0.005] })
})

test('a statement that is sent again counts once, from when it was handed over first', async () => {
  const { clock, telemetry, sent, line } = observed()
  const { root, spans } = recordedTrace(clock)
  const answer = line.run(read, [7], cancelOf(root))
  await clock.advance(5)
  // Its plan is gone.
  sent[0]!.handleError(serverError('26000'))
  assert.equal(sent.length, 2)
  await clock.advance(5)
  sent[1]!.handleReadyForQuery()
  await answer
  assert.deepEqual(spans.map(told), [['SELECT things', 0, 10, undefined]])
  assert.deepEqual(counts(telemetry), { '': [1, 0.01] })
})

test('a statement that fails is told with its SQLSTATE, and a connection that breaks with its code', async () => {
  const { clock, telemetry, sent, line } = observed()
  const { root, spans } = recordedTrace(clock)
  const answers = [1, 2].map((id) => line.run(read, [id], cancelOf(root)))
  sent[0]!.handleError(serverError('23505'))
  sent[1]!.handleError(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }))
  await Promise.allSettled(answers)
  assert.deepEqual(
    spans.map(({ errorType, attributes }) => [errorType, attributes!['db.response.status_code']]),
    [
      ['23505', '23505'],
      ['ECONNRESET', undefined],
    ],
  )
  assert.deepEqual(Object.keys(counts(telemetry)), ['23505', 'ECONNRESET'])
})

test('a statement that is given up ends then, once, whatever the server says later', async () => {
  const { clock, telemetry, sent, line } = observed()
  const { root, spans } = recordedTrace(clock)
  const controller = new AbortController()
  const answer = line.run(read, [7], cancelOf(root, controller))
  await clock.advance(3)
  controller.abort(new Failure('deadline-exceeded'))
  await assert.rejects(answer)
  await clock.advance(9)
  sent[0]!.handleReadyForQuery()
  assert.deepEqual(spans.map(told), [['SELECT things', 0, 3, 'deadline-exceeded']])
  assert.deepEqual(counts(telemetry), { 'deadline-exceeded': [1, 0.003] })
})

test('a statement of a request that is not recorded is counted and makes no span', async () => {
  const { telemetry, sent, line } = observed()
  const answer = line.run(read, [7], new AbortController().signal)
  sent[0]!.handleReadyForQuery()
  await answer
  assert.deepEqual(counts(telemetry), { '': [1, 0] })
})

const attributeNames = { namespace: 'db.namespace', address: 'server.address', port: 'server.port' } as const

const servers = [
  [url, 'shop', 'db.test', 6_000],
  ['postgres://db.test/shop', 'shop', 'db.test', 5_432],
  ['postgres:///shop?host=/var/run', 'shop', '/var/run', 5_432],
  ['postgres://user:1/canary@db.test/shop', undefined, undefined, undefined],
  ['postgres://user:1?canary@db.test/shop', undefined, undefined, undefined],
  ['postgres://user:1#canary@db.test/shop', undefined, undefined, undefined],
  ['postgres://user:can%ary@db test/shop', undefined, undefined, undefined],
] as const

for (const [given, namespace, address, port] of servers) {
  test(`of ${given.replace('canary', '...')} is told: ${namespace ?? 'nothing'}`, () => {
    const clock = new VirtualClock()
    const { attributes } = new StatementTelemetry({ url: given, clock }).span(read, recordedTrace(clock).root, 0)
    assert.deepEqual(
      Object.values(attributeNames).map((key) => attributes![key]),
      [namespace, address, port],
    )
    assert.ok(!/canary|secret|user/.test(JSON.stringify(attributes)))
  })
}

test('the integrals of the pool grow by one a second for each that waits, or has a connection', async () => {
  const clock = new VirtualClock()
  const telemetry = new StatementTelemetry({ url, clock })
  const { root, spans } = recordedTrace(clock)
  const [first, second] = [telemetry.connectionAsked(false, root), telemetry.connectionAsked(true, root)]
  first.got()
  await clock.advance(2_000)
  first.gaveBack()
  second.got()
  await clock.advance(1_000)
  second.gaveBack()
  const third = telemetry.connectionAsked(true, root)
  await clock.advance(500)
  third.failed(new Failure('database-busy'))
  assert.deepEqual([telemetry.used.seconds(clock.now()), telemetry.pending.seconds(clock.now())], [3, 2.5])
  assert.deepEqual(spans.map(told), [
    ['pool wait', 0, 2_000, undefined],
    ['pool wait', 3_000, 3_500, 'database-busy'],
  ])
  assert.equal(telemetry.waits.sum, 2.5)
})
