// In a process of its own: the first service in a process is the one that OpenTelemetry's API belongs to.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { trace } from '@opentelemetry/api'
import { startCollector } from '../support/collector.ts'
import { startTestService } from '../support/service.ts'

test("what others export through OpenTelemetry's API takes no room from the requests' spans, and counts for none", async () => {
  await using collector = await startCollector()
  const small = { OTEL_BSP_MAX_QUEUE_SIZE: '16', OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '16' }
  await using service = await startTestService({
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_TRACES_SAMPLER: 'always_on',
    OTEL_BSP_SCHEDULE_DELAY: '20',
    ...small,
  })
  const get = async (): Promise<string> => (await fetch(`${service.url}/json`)).text()
  await get()
  await collector.until((spans) => spans.length > 0)
  const tracer = trace.getTracer('another')
  for (let i = 0; i < 600; i++) tracer.startSpan('another').end()
  await collector.until((spans) => spans.some(({ name }) => name === 'another'))
  collector.behave('hang')
  for (let i = 0; i < 40; i++) await get()
  // Long enough for a second slice, which finds no room.
  await sleep(300)
  assert.ok(service.service.telemetry!.traces!.spans >= 40 - 16)
})
