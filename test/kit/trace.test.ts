import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { mostSpans, parentHeaders, readParent, type RemoteParent, Trace } from '../../src/kit/trace.ts'

let nowMs = 0
const clock = { now: () => nowMs, setTimeout: () => undefined, clearTimeout: () => {} }

const id = (length: number, number: number): string => String(number).padStart(length, '0')

/** A trace whose ids are counted, so that it is seen when one is made. */
const newTrace = (parent?: RemoteParent, sampled = true) => {
  const made = { trace: 0, span: 0 }
  const trace = new Trace({
    clock,
    name: 'GET /',
    kind: 'server',
    startMs: nowMs,
    sampled,
    parent,
    newTraceId: () => id(32, ++made.trace),
    newSpanId: () => id(16, ++made.span),
  })
  return { trace, made }
}

const hex = (length: number) =>
  fc
    .array(fc.constantFrom(...'0123456789abcdef'.split('')), { minLength: length, maxLength: length })
    .map((digits) => digits.join(''))
    .filter((id) => !/^0+$/.test(id))

test('what a span tells others to join is read as just that span', () => {
  fc.assert(
    fc.property(
      hex(32),
      hex(16),
      fc.boolean(),
      fc.option(fc.constant('vendor=1')),
      (traceId, spanId, sampled, state) => {
        const parent = { traceId, spanId, sampled, state: state ?? undefined }
        const { trace } = newTrace(parent, sampled)
        const [, told, name, toldState] = parentHeaders(trace.root)
        assert.equal(name, state === null ? undefined : 'tracestate')
        assert.deepEqual(readParent(told, toldState), { ...parent, spanId: trace.root.id })
      },
    ),
  )
})

test('a traceparent that the specification calls invalid is none', () => {
  const [trace, span] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331']
  for (const invalid of [
    undefined,
    '',
    `ff-${trace}-${span}-01`,
    `00-${'0'.repeat(32)}-${span}-01`,
    `00-${trace}-${'0'.repeat(16)}-01`,
    `00-${trace.toUpperCase()}-${span}-01`,
    `00-${trace}-${span}-01-more`,
    `00-${trace}-${span}`,
    `00-${trace}-${span}-1`,
    ` 00-${trace}-${span}-01`,
  ]) {
    assert.equal(readParent(invalid, undefined), undefined, String(invalid))
  }
})

const read = (flags: string) => readParent(`cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-${flags}`, undefined)

test('of a later version what is known is read, and of the flags the one that is known', () => {
  assert.equal(read('01-what-the-future-brings')?.sampled, true)
  assert.equal(read('03')?.sampled, true)
  assert.equal(read('02')?.sampled, false)
})

test('a state that is too long is not passed on, and the trace is joined nevertheless', () => {
  const parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  assert.equal(readParent(parent, `a=${'x'.repeat(510)}`)?.state?.length, 512)
  assert.equal(readParent(parent, `a=${'x'.repeat(511)}`)?.state, undefined)
})

test('ids are made when they are asked for, and then once', () => {
  const { trace, made } = newTrace()
  trace.root.child('a').child('b').end()
  assert.deepEqual(made, { trace: 0, span: 0 })
  assert.equal(trace.id, trace.id)
  assert.equal(trace.root.id, trace.root.id)
  assert.deepEqual(made, { trace: 1, span: 1 })
})

test('a span lasts from its beginning to its first end', () => {
  nowMs = 5
  const { trace } = newTrace()
  const span = trace.root.child('a')
  assert.ok(Number.isNaN(span.endMs))
  nowMs = 7
  span.end('timeout')
  nowMs = 9
  span.end('later')
  assert.deepEqual([span.startMs, span.endMs, span.errorType], [5, 7, 'timeout'])
  assert.equal(span.parent, trace.root)
})

test('a trace keeps so many spans and counts the rest, which go on as if they were kept', () => {
  const { trace } = newTrace()
  const spans = Array.from({ length: mostSpans + 3 }, () => trace.root.child('a'))
  spans.at(-1)!.child('below').end()
  assert.equal(trace.spans.length, mostSpans)
  assert.equal(trace.left, 4)
})

test('a trace that has ended takes no more spans: what goes on for others is none of its', () => {
  const { trace } = newTrace()
  const open = trace.root.child('open')
  trace.root.end()
  open.child('below').end()
  trace.root.child('late')
  assert.deepEqual(trace.spans, [open])
  assert.equal(trace.left, 0)
})
