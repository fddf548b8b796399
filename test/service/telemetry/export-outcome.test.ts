import assert from 'node:assert/strict'
import { test } from 'node:test'
import pino from 'pino'
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace'
import { SpanOutcomes, watched } from '../../../src/service/telemetry/export-outcome.ts'

type Result = Parameters<Parameters<SpanExporter['export']>[1]>[0]

const secret = 'canary-of-a-header'

/** An exporter with these results, one after the other. */
const setUp = (results: readonly Result[]) => {
  const left = [...results]
  const lines: string[] = []
  const settled: number[] = []
  const outcomes = new SpanOutcomes()
  const exporter = watched(
    { export: (_, report) => report(left.shift()!), shutdown: () => Promise.resolve() },
    {
      outcomes,
      log: pino({ base: null }, { write: (line: string) => void lines.push(line) }),
      collector: 'http://collector:4318',
      onSettled: (spans) => settled.push(spans),
    },
  )
  const batch = (spans: number): void => exporter.export(Array.from<ReadableSpan>({ length: spans }), () => {})
  return { batch, lines, settled, outcomes }
}

const success: Result = { code: 0 }
const refused: Result = { code: 1, error: Object.assign(new Error(secret), { code: 'ECONNREFUSED' }) }

test('every span is counted once as exported or failed', () => {
  const { batch, outcomes, settled } = setUp([success, refused, success])
  for (const spans of [5, 3, 2]) batch(spans)
  assert.deepEqual([outcomes.exported, outcomes.failed], [7, 3])
  assert.deepEqual(settled, [5, 3, 2])
})

test('the log has a line for each change, none for each batch, and no text that came with an error', () => {
  const { batch, lines } = setUp([success, success, refused, refused, refused, success, refused])
  for (let i = 0; i < 7; i++) batch(1)
  assert.deepEqual(
    lines.map((line) => {
      const { level, reason } = JSON.parse(line) as { level: number; reason?: string }
      return [level, reason]
    }),
    [
      [30, undefined],
      [40, 'ECONNREFUSED'],
      [30, undefined],
      [40, 'ECONNREFUSED'],
    ],
  )
  assert.ok(!lines.join('').includes(secret))
})
