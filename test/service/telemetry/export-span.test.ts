import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createTraceState } from '@opentelemetry/api'
import { emptyResource } from '@opentelemetry/resources'
import { mostSpans, type RemoteParent, Trace } from '../../../src/kit/trace.ts'
import { exportedSpans } from '../../../src/service/telemetry/export-span.ts'

let ids = 0
const newTrace = (parent?: RemoteParent, startMs = 10): Trace =>
  new Trace({
    clock: { now: () => startMs, setTimeout: () => undefined, clearTimeout: () => {} },
    name: 'GET /aggregate',
    kind: 'server',
    startMs,
    sampled: true,
    parent,
    newTraceId: () => String(++ids).padStart(32, '0'),
    newSpanId: () => String(++ids).padStart(16, '0'),
  })

const epochMs = 1_700_000_000_000
const origin = {
  resource: emptyResource(),
  scope: { name: 'plimsoll', version: '1' },
  epochMs,
  readState: createTraceState,
}
const exported = (trace: Trace) => exportedSpans(trace, origin)

test('a span is exported with the ids that others have been told', () => {
  const trace = newTrace()
  const child = trace.root.child('wait')
  const told = [trace.id, trace.root.id, child.id]
  trace.root.end()
  const [root, part] = exported(trace)
  assert.deepEqual([root!.spanContext().traceId, root!.spanContext().spanId, part!.spanContext().spanId], told)
  assert.equal(root!.parentSpanContext, undefined)
  assert.equal(part!.parentSpanContext!.spanId, root!.spanContext().spanId)
  assert.equal(part!.parentSpanContext!.isRemote, undefined)
})

test('parents come before their children, however deep they are', () => {
  const trace = newTrace()
  const child = trace.root.child('a')
  child.child('b').child('c')
  trace.root.child('d')
  trace.root.end()
  const seen = new Set<string>()
  for (const { parentSpanContext, spanContext } of exported(trace).map((span) => ({
    parentSpanContext: span.parentSpanContext,
    spanContext: span.spanContext(),
  }))) {
    if (parentSpanContext !== undefined) assert.ok(seen.has(parentSpanContext.spanId))
    seen.add(spanContext.spanId)
  }
  assert.equal(seen.size, 5)
})

test('a remote parent is named as such, and its state goes with every span', () => {
  const parent = { traceId: 'ab'.repeat(16), spanId: 'cd'.repeat(8), sampled: true, state: 'a=1,b=2' }
  const trace = newTrace(parent)
  trace.root.child('part').end()
  trace.root.end()
  const [root, part] = exported(trace)
  assert.equal(root!.spanContext().traceId, parent.traceId)
  assert.equal(root!.parentSpanContext!.spanId, parent.spanId)
  assert.equal(root!.parentSpanContext!.isRemote, true)
  for (const span of [root!, part!]) assert.equal(span.spanContext().traceState!.serialize(), parent.state)
})

test('times are those of the clock, to the microsecond, since 1970', () => {
  const trace = newTrace(undefined, 1_234.5)
  trace.root.end(undefined, 3_300.25)
  const [root] = exported(trace)
  assert.deepEqual(root!.startTime, [1_700_000_001, 234_500_000])
  assert.deepEqual(root!.endTime, [1_700_000_003, 300_250_000])
  assert.deepEqual(root!.duration, [2, 65_750_000])
})

test('a span that is still open ends with its trace and is marked; it never ends before it began', () => {
  const trace = newTrace()
  trace.root.child('open', 'client', 12)
  trace.root.child('late', 'internal', 40)
  trace.root.end(undefined, 20)
  const [root, open, late] = exported(trace)
  assert.deepEqual(open!.endTime, root!.endTime)
  assert.equal(open!.attributes['plimsoll.unfinished'], true)
  assert.deepEqual(late!.endTime, late!.startTime)
  assert.equal(root!.attributes['plimsoll.unfinished'], undefined)
})

test('what went wrong is the status and error.type of its span alone', () => {
  const trace = newTrace()
  trace.root.child('query', 'client').end('57014')
  trace.root.end()
  const [root, query] = exported(trace)
  assert.deepEqual([root!.status.code, root!.attributes['error.type']], [0, undefined])
  assert.deepEqual([query!.status.code, query!.attributes['error.type']], [2, '57014'])
})

test('kinds are those of OpenTelemetry', () => {
  const trace = newTrace()
  trace.root.child('internal', 'internal').end()
  trace.root.child('client', 'client').end()
  trace.root.end()
  assert.deepEqual(
    exported(trace).map(({ kind }) => kind),
    [1, 0, 2],
  )
})

test('the root says how many spans were left out', () => {
  const trace = newTrace()
  for (let i = 0; i < mostSpans + 3; i++) trace.root.child('part').end()
  trace.root.end()
  const spans = exported(trace)
  assert.equal(spans.length, 1 + mostSpans)
  assert.equal(spans[0]!.attributes['plimsoll.spans_left_out'], 3)
})
