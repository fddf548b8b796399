import assert from 'node:assert/strict'
import test from 'node:test'
import { ROOT_CONTEXT, SpanKind, trace } from '@opentelemetry/api'
import { ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer'
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'
import fc from 'fast-check'
import { type Part, runParts, sumOf } from './parts.ts'
import { report } from './print.ts'
import { type Round, summarise } from './result.ts'
import { isNamed, participants, rows, serversOf } from './rows.ts'
import { countSpans, type SpanCounts } from './span-count.ts'
import { complaint, type Traced, tracedBy } from './traces.ts'

const rowNamed = (name: string) => rows.find((row) => row.name === name)!

/** What the SDK sends for spans of these kinds, by scope; each but the first of a scope is a child of the one before. */
const requestWith = (scopes: Readonly<Record<string, readonly SpanKind[]>>): Uint8Array => {
  const exporter = new InMemorySpanExporter()
  const provider = new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] })
  for (const [scope, kinds] of Object.entries(scopes)) {
    let context = ROOT_CONTEXT
    for (const kind of kinds) {
      const span = provider.getTracer(scope, '1').startSpan('a span', { kind, attributes: { some: 'thing' } }, context)
      span.addEvent('an event').end()
      context = trace.setSpan(context, span)
    }
  }
  return ProtobufTraceSerializer.serializeRequest(exporter.getFinishedSpans())!
}

const kind = fc.constantFrom(SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CLIENT)
const name = fc.constantFrom('plimsoll', '@opentelemetry/instrumentation-http', 'ß'.repeat(200))

test('what the SDK sends is counted span by span, whoever made them', () => {
  fc.assert(
    fc.property(fc.dictionary(name, fc.array(kind, { minLength: 1, maxLength: 60 })), (scopes) => {
      const counts: SpanCounts = {}
      countSpans(requestWith(scopes), counts)
      const expected = Object.entries(scopes).map(([scope, kinds]) => [
        scope,
        { spans: kinds.length, server: kinds.filter((each) => each === SpanKind.SERVER).length },
      ])
      assert.deepEqual({ ...counts }, Object.fromEntries(expected))
    }),
    { numRuns: 30 },
  )
})

test('counts of several requests add up', () => {
  const counts: SpanCounts = {}
  const request = requestWith({ plimsoll: [SpanKind.SERVER, SpanKind.CLIENT] })
  countSpans(request, counts)
  countSpans(request, counts)
  assert.deepEqual(counts, { plimsoll: { spans: 4, server: 2 } })
})

/** A field with a length. */
const field = (tag: readonly number[], value: readonly number[]) => [...tag, value.length, ...value]

test('fields may come in any order, unknown ones of every type among them', () => {
  const flags = [0x85, 0x01, 1, 0, 0, 0] // 16, four bytes
  const startTime = [0x39, 1, 2, 3, 4, 5, 6, 7, 8] // 7, eight bytes
  const state = field([0x1a], [...Buffer.from('a=1')]) // 3, a string
  const kindOfServer = [0x30, SpanKind.SERVER + 1] // 6, a number; OTLP counts from 1
  const span = [...flags, ...kindOfServer, ...startTime, ...state]
  const scope = [...field([0x12], span), ...field([0x0a], field([0x0a], [...Buffer.from('any')]))]
  const counts: SpanCounts = {}
  countSpans(Uint8Array.from(field([0x0a], field([0x12], scope))), counts)
  assert.deepEqual(counts, { any: { spans: 1, server: 1 } })
})

const traced = (share: number, requests: number, arrived: number): Traced => ({
  name: 'on',
  share,
  requests,
  traced: arrived,
  spans: {},
})

test('a share of traces that arrives as asked is nothing to speak of', () => {
  assert.equal(complaint(traced(0.1, 100_000, 10_000)), undefined)
  assert.equal(complaint(traced(0.1, 100_000, 9_600)), undefined)
  assert.equal(complaint(traced(0, 100_000, 3)), undefined)
})

test('traces that are lost are said to have cost nothing', () => {
  assert.match(complaint(traced(0.1, 100_000, 7_000))!, /^on: 7\.0 % of the requests .* not 10 %: .* gain by/)
  assert.match(complaint(traced(1, 100_000, 60_000))!, /60\.0 % .* gain by/)
  assert.match(complaint(traced(0, 100_000, 5_000))!, /too many/)
})

test('only requests that were answered and servers that trace are looked at', () => {
  const servers = Object.values(serversOf('dist/main.js'))
  const arrivals = {
    on: { scopes: { plimsoll: { spans: 30, server: 10 } }, signals: { traces: 1 }, bytes: 1 },
  }
  const found = tracedBy(servers, { on: 100, off: 100, bare: 100 }, arrivals)
  assert.deepEqual(found, [{ name: 'on', share: 0.1, requests: 100, traced: 10, spans: { plimsoll: 30 } }])
  assert.deepEqual(
    tracedBy(servers, { auto: 7 }, arrivals).map(({ name, traced: arrived }) => [name, arrived]),
    [['auto', 0]],
  )
})

test('memory that is compared is the difference within each round', () => {
  const rounds: Round[] = [
    { off: { value: 90 }, on: { value: 100 } },
    { off: { value: 120 }, on: { value: 135 } },
    { off: { value: 90 }, on: { value: 95 } },
  ]
  const { figure, verdict } = summarise(rowNamed('telemetry-memory'), rounds)
  assert.deepEqual(figure, { median: 10, min: 5, max: 15 })
  assert.equal(verdict, 'met')
})

test('a start that is compared is a multiple of the other within each round', () => {
  const { figure } = summarise(rowNamed('telemetry-start'), [{ off: { value: 100 }, on: { value: 120 } }])
  assert.equal(figure.median, 1.2)
})

const named = (wanted: string) => rows.filter((row) => isNamed(row, wanted)).map(({ name: each }) => each)

test('a group and each of its rows can be asked for by name', () => {
  assert.deepEqual(named('telemetry-db'), ['telemetry-db'])
  assert.ok(named('telemetry').every((each) => each.startsWith('telemetry-')))
  assert.equal(named('speed').length + named('telemetry').length, rows.length)
})

test('whom a row is compared with is measured first, and each server once a round', () => {
  for (const row of rows) {
    const names = participants(row)
    assert.equal(new Set(names).size, names.length)
    if (typeof row.against === 'string') assert.equal(names[0], row.against)
  }
})

test('only servers whose shares are compared with the sink send anything to it', () => {
  for (const { name: each, env = {}, tracedShare } of Object.values(serversOf('dist/main.js', 'http://sink'))) {
    assert.equal(env['OTEL_EXPORTER_OTLP_ENDPOINT'], tracedShare === undefined ? undefined : `http://sink/${each}`)
  }
})

test('the report says what each column is', () => {
  const result = summarise(rowNamed('telemetry-off'), [{ off: { value: 100 }, on: { value: 90 } }])
  const text = report([result], serversOf('dist/main.js'))
  assert.match(text, /^telemetry-off {2}\/json {2}on {3}0\.90 +× off/m)
  assert.match(text, /^off {2}Plimsoll with TELEMETRY=off$/m)
})

/** A part whose executions take so many nanoseconds on a clock that only it moves. */
const taking = (ns: number, clock: { ms: number }, share = 1, each = 1): Part => ({
  name: `${ns} ns`,
  share,
  each,
  run: () => {
    clock.ms += ns / 1e6
  },
})

test('a part takes what one execution takes, and one that does many things at once its share of that', () => {
  const clock = { ms: 0 }
  const parts = [taking(40, clock), taking(5_000, clock, 0.1), taking(1_000, clock, 1, 10)]
  const found = runParts(parts, { rounds: 3, batchMs: 1, now: () => clock.ms })
  assert.deepEqual(
    found.map(({ ns }) => Math.round(ns.median)),
    [40, 5_000, 100],
  )
})

test('what only some requests need costs all of them its share', () => {
  const clock = { ms: 0 }
  const parts = [taking(40, clock), taking(5_000, clock, 0.1)]
  const found = runParts(parts, { rounds: 3, batchMs: 1, now: () => clock.ms })
  assert.equal(Math.round(sumOf(found)), 540)
})
