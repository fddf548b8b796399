import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startCollector } from '../support/collector.ts'
import { serve } from '../support/cli.ts'
import { until } from '../support/until.ts'

const canary = 'canary-4711'

const tracingTo = (url: string) => ({
  OTEL_EXPORTER_OTLP_ENDPOINT: url.replace('//', `//user:${canary}@`),
  OTEL_EXPORTER_OTLP_HEADERS: `authorization=${canary}`,
  OTEL_TRACES_SAMPLER: 'always_on',
  OTEL_BSP_SCHEDULE_DELAY: '20',
  LOG_LEVEL: 'debug',
})

const aboutTheCollector = (log: readonly Record<string, unknown>[]) =>
  log.filter(({ collector }) => collector !== undefined)

test('SIGTERM with a collector that never answers: exit 0 within 2 s, and the log says what was lost', async () => {
  await using collector = await startCollector()
  collector.behave('hang')
  await using service = await serve([], tracingTo(collector.url))
  for (let i = 0; i < 20; i++) assert.equal((await fetch(`${service.url}/json`)).status, 200)
  await until('spans are on their way', () => collector.requests().length > 0)
  const askedMs = performance.now()
  service.process.kill('SIGTERM')
  assert.equal(await service.exit, 0)
  assert.ok(performance.now() - askedMs < 2_000)
  assert.ok(service.log.some(({ msg, spans }) => msg === 'spans were not exported before the end' && Number(spans) > 0))
})

test('the log has one line when the collector is reached and one when it is lost, without user, password or header', async () => {
  await using collector = await startCollector()
  await using service = await serve([], tracingTo(collector.url))
  await fetch(`${service.url}/json`)
  await collector.until((spans) => spans.length === 1)
  assert.match(String(collector.requests()[0]!.headers.authorization), new RegExp(canary))
  collector.behave('error')
  for (let i = 0; i < 3; i++) {
    const before = collector.requests().length
    await fetch(`${service.url}/json`)
    await until('another batch has failed', () => collector.requests().length > before)
  }
  await until('the log says so', () => aboutTheCollector(service.log).length >= 2)
  service.process.kill('SIGTERM')
  assert.equal(await service.exit, 0)
  assert.deepEqual(
    aboutTheCollector(service.log).map(({ level, reason, collector: told }) => [level, reason, told]),
    [
      ['info', undefined, collector.url],
      ['warn', '500', collector.url],
    ],
  )
  assert.ok(!JSON.stringify(service.log).includes(canary))
})
