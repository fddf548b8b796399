import assert from 'node:assert/strict'
import { test } from 'node:test'
import { serviceMetrics, type ServiceMetricName } from '../../src/contract/metrics.ts'
import type { Metric, MetricInfo } from '../../src/kit/metrics.ts'
import { migrate } from '../../src/service/db/migrate.ts'
import { freshDatabase } from '../support/postgres.ts'
import { startTestService, type TestService } from '../support/service.ts'

const url = await freshDatabase()
await migrate(url)
const limits = { timeout: 60_000 }

const env = { DATABASE_URL: url, RATE_LIMIT: '10000/s', UPSTREAMS: 'news=http://127.0.0.1:1/,shop=http://127.0.0.1:1/' }

/** Those that the parts of the service tell, as opposed to requests, processes and telemetry itself. */
const ofParts = /^(plimsoll_(admission|rate_limit|db|threads|cache|upstream)|db_client|http_client)/

const names = Object.keys(serviceMetrics).filter((name) => ofParts.test(name)) as ServiceMetricName[]

const collect = async ({ service }: TestService): Promise<Map<string, Metric>> =>
  new Map((await service.telemetry!.collect()).map((metric) => [metric.name, metric]))

const valueOf = (all: Map<string, Metric>, name: ServiceMetricName, labels: Record<string, string> = {}): number => {
  const matches = all
    .get(name)!
    .values.filter((line) => Object.entries(labels).every(([label, value]) => line.labels[label] === value))
  assert.equal(matches.length, 1, `${name} ${JSON.stringify(labels)}`)
  return matches[0]!.value
}

test(
  'every metric of the parts is there before the first request, with the labels that the contract says',
  limits,
  async (t) => {
    const service = await startTestService(env)
    t.after(() => service[Symbol.asyncDispose]())
    const all = await collect(service)
    // What statements there will be is not known before they are run.
    const later = 'db_client_operation_duration_seconds'
    assert.ok(names.length > 30)
    assert.deepEqual(
      names.filter((name) => !all.has(name)),
      [later],
    )
    await fetch(`${service.url}/db`)
    const ran = await collect(service)
    for (const name of names) {
      const { labels }: MetricInfo = serviceMetrics[name]
      for (const line of ran.get(name)!.values) {
        const own = Object.keys(line.labels).filter((label) => label !== 'le')
        assert.deepEqual(own.toSorted(), [...labels].sort(), name)
      }
    }
  },
)

test('what can be named beforehand is 0 before it happens', limits, async (t) => {
  const service = await startTestService(env)
  t.after(() => service[Symbol.asyncDispose]())
  const all = await collect(service)
  const expected: [ServiceMetricName, Record<string, string>][] = [
    ...['queue-full', 'queue-timeout', 'displaced'].map((reason): [ServiceMetricName, Record<string, string>] => [
      'plimsoll_admission_refused_total',
      { reason },
    ]),
    ...['allowed', 'refused', 'uncounted'].map((decision): [ServiceMetricName, Record<string, string>] => [
      'plimsoll_rate_limit_requests_total',
      { decision },
    ]),
    ...['first', 'retry', 'hedge'].map((kind): [ServiceMetricName, Record<string, string>] => [
      'plimsoll_upstream_attempts_total',
      { kind, upstream: 'shop' },
    ]),
    ...['ok', 'timeout', 'error', 'refused', 'invalid', 'circuit-open', 'abandoned'].map(
      (status): [ServiceMetricName, Record<string, string>] => [
        'plimsoll_upstream_calls_total',
        { status, upstream: 'news' },
      ],
    ),
    ...['items', 'worlds'].flatMap((cache) =>
      ['ok', 'error'].map((outcome): [ServiceMetricName, Record<string, string>] => [
        'plimsoll_cache_loads_total',
        { cache, outcome },
      ]),
    ),
    ['plimsoll_db_connection_timeouts_total', {}],
  ]
  for (const [name, labels] of expected)
    assert.equal(valueOf(all, name, labels), 0, `${name} ${JSON.stringify(labels)}`)
})

test('each part counts what requests did with it', limits, async (t) => {
  const service = await startTestService(env)
  t.after(() => service[Symbol.asyncDispose]())
  for (const path of [
    '/db',
    '/work/query?ms=20',
    '/work/cpu?ms=20',
    '/aggregate?source=shop',
    '/cached-queries?count=3',
  ]) {
    await (await fetch(service.url + path)).text()
  }
  const all = await collect(service)
  assert.equal(valueOf(all, 'plimsoll_admission_accepted_total'), 5)
  assert.equal(valueOf(all, 'plimsoll_rate_limit_requests_total', { decision: 'allowed' }), 5)
  assert.equal(valueOf(all, 'plimsoll_threads_tasks_total'), 1)
  assert.equal(valueOf(all, 'plimsoll_upstream_calls_total', { upstream: 'shop', status: 'error' }), 1)
  assert.equal(valueOf(all, 'plimsoll_upstream_attempts_total', { upstream: 'shop', kind: 'retry' }), 1)
  assert.equal(valueOf(all, 'plimsoll_cache_loads_total', { cache: 'worlds', outcome: 'ok' }), 1)
  assert.ok(valueOf(all, 'plimsoll_threads_busy_seconds_total') >= 0.02)
  assert.ok(valueOf(all, 'plimsoll_db_connections_used_seconds_total') >= 0.02)
  assert.ok(valueOf(all, 'plimsoll_admission_in_flight_seconds_total') >= 0.04)
  const statements = all
    .get('db_client_operation_duration_seconds')!
    .values.filter(({ metricName }) => metricName!.endsWith('_count'))
  assert.deepEqual(
    statements.map(({ labels, value }) => [labels['db_query_summary'], labels['error_type'], value]),
    [
      ['SELECT world', '', 1],
      ['SELECT pg_sleep', '', 1],
      ['SELECT cached_world', '', 1],
    ],
  )
})
