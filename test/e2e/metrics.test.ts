import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { serviceMetrics } from '../../src/contract/metrics.ts'
import { seededRandom } from '../../src/kit/random.ts'
import { migrate } from '../../src/service/db/migrate.ts'
import { serve, type Serving } from '../support/cli.ts'
import { exchange, readAnswers, requestBytes } from '../support/http.ts'
import { freshDatabase } from '../support/postgres.ts'
import { preparePython } from '../support/python.ts'
import { hasProgram, requirement } from '../support/requirement.ts'
import { type Scrape, scrape } from '../support/scrape.ts'
import { until } from '../support/until.ts'

const started = (service: Serving): Promise<boolean> =>
  until('started', async () => (await fetch(`${service.adminUrl}/startupz`)).status === 200, 20_000)

const portOf = ({ url }: Serving): number => Number(new URL(url).port)

/** One answer on a connection of its own, so that any worker may give it; false where the connection was cut. */
const ask = async ({ url }: Serving, target = '/json'): Promise<boolean> => {
  try {
    const answer = await fetch(url + target, { headers: { connection: 'close' } })
    await answer.arrayBuffer()
    return answer.status === 200
  } catch {
    return false
  }
}

const askMany = async (service: Serving, count: number): Promise<number> =>
  (await Promise.all(Array.from({ length: count }, () => ask(service)))).filter(Boolean).length

const answered = ({ sum }: Scrape): number =>
  sum('http_server_request_duration_seconds_count', { http_route: '/json', http_response_status_class: '2xx' })

/** A scrape that shows so many answers: one that comes while a worker is slow shows what that knew before. */
const scrapeWith = (service: Serving, answers: number): Promise<Scrape> =>
  until(`${answers} answers are told`, async () => {
    const shown = await scrape(service.adminUrl)
    return answered(shown) === answers && shown
  })

const childrenOf = ({ process: { pid } }: Serving): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number)

const limits = { timeout: 60_000 }

test('two workers are one replica: what they count is added up, what each is stands apart', limits, async () => {
  await using service = await serve(['--workers', '2'])
  await started(service)
  assert.equal(await askMany(service, 40), 40)
  const shown = await scrapeWith(service, 40)
  for (const worker of [1, 2]) {
    assert.ok(shown.sum('nodejs_eventloop_time_seconds_total', { worker }) > 0)
    assert.ok(shown.sum('v8js_memory_heap_used_bytes', { worker }) > 1e6)
  }
  // The parent and both of its workers: each has tens of MB of its own, and a few files.
  const [memory, fds] = [shown.sum('process_resident_memory_bytes'), shown.sum('process_open_fds')]
  assert.ok(memory > 100e6 && fds > 30, `${memory} bytes, ${fds} files`)
  const once = ['plimsoll_ready', 'plimsoll_build_info', 'plimsoll_slo_seconds'].map((name) => shown.sum(name))
  assert.deepEqual(once, [1, 1, 0.25])
  assert.deepEqual(
    ['running', 'vacant'].map((state) => shown.sum('plimsoll_workers', { state })),
    [2, 0],
  )
})

test('while a worker is blocked the scrape shows both, its own figures as they were last known', limits, async () => {
  await using service = await serve(['--workers', '2'])
  await started(service)
  assert.equal(await askMany(service, 20), 20)
  await scrapeWith(service, 20)
  let over = false
  const blocked = ask(service, '/work/block?ms=3000').finally(() => (over = true))
  const shown = await until('a worker is missed', async () => {
    const now = await scrape(service.adminUrl)
    return now.sum('plimsoll_worker_scrapes_missed_total') > 0 && now
  })
  assert.equal(over, false, 'the scrape waited for the worker')
  assert.equal(answered(shown), 20)
  for (const worker of [1, 2]) assert.ok(shown.sum('nodejs_eventloop_time_seconds_total', { worker }) > 0)
  await service[Symbol.asyncDispose]()
  await blocked
})

test('totals never fall while workers are killed under traffic', limits, async () => {
  await using service = await serve(['--workers', '2'])
  await started(service)
  const traffic = new AbortController()
  let ok = 0
  const client = async (): Promise<void> => {
    while (!traffic.signal.aborted) if (await ask(service)) ok++
  }
  const clients = [client(), client(), client(), client()]
  const last = new Map<string, number>()
  const watch = async (): Promise<Scrape> => {
    const shown = await scrape(service.adminUrl)
    for (const [line, value] of shown.lines) {
      const before = last.get(line) ?? 0
      if (shown.typeOf(line) === 'gauge') continue
      assert.ok(value >= before, `${line}: ${value} after ${before}`)
      last.set(line, value)
    }
    for (const line of last.keys()) assert.ok(shown.lines.has(line), `${line} is gone`)
    return shown
  }
  try {
    for (const killed of [1, 2, 3]) {
      for (let i = 0; i < 10; i++) {
        await watch()
        await sleep(20)
      }
      process.kill(childrenOf(service)[killed % 2]!, 'SIGKILL')
      await until('it is replaced', async () => {
        const { sum } = await watch()
        return sum('plimsoll_worker_restarts_total') === killed && sum('plimsoll_workers', { state: 'running' }) === 2
      })
      await started(service)
    }
  } finally {
    traffic.abort()
  }
  await Promise.all(clients)
  const total = answered(await watch())
  assert.ok(total > 0 && ok > 0, `${total} of ${ok}`)
})

test('a worker that ends in order takes nothing that it has counted with it', limits, async () => {
  await using service = await serve(['--workers', '2'])
  await started(service)
  for (const round of [1, 2]) {
    assert.equal(await askMany(service, 15), 15)
    process.kill(childrenOf(service)[0]!, 'SIGTERM')
    await until('it is replaced', async () => {
      const { sum } = await scrape(service.adminUrl)
      return sum('plimsoll_worker_restarts_total') === round && sum('plimsoll_workers', { state: 'running' }) === 2
    })
    await scrapeWith(service, 15 * round)
    // Both are up again, each with a socket of its own.
    await until('both tell', async () => {
      const { sum } = await scrape(service.adminUrl)
      return [1, 2].every((worker) => sum('v8js_memory_heap_used_bytes', { worker }) > 0)
    })
  }
})

const openMetrics = { accept: 'application/openmetrics-text' }

test('without telemetry a scrape is empty, and valid', limits, async () => {
  for (const workers of ['1', '2']) {
    await using service = await serve(['--workers', workers], { TELEMETRY: 'off' })
    assert.equal((await scrape(service.adminUrl)).lines.size, 0)
    assert.equal(await (await fetch(`${service.adminUrl}/metrics`, { headers: openMetrics })).text(), '# EOF\n')
  }
})

test('one process tells of its runtime, its container and itself, as the contract has it', limits, async () => {
  await using service = await serve([])
  await started(service)
  await ask(service)
  const shown = await until('its event loop was looked at', async () => {
    const now = await scrape(service.adminUrl)
    return now.sum('plimsoll_eventloop_delay_seconds_count') > 10 && now
  })
  const worker = { worker: 1 }
  const positive: readonly [string, Record<string, string | number>?][] = [
    ['nodejs_eventloop_time_seconds_total', { ...worker, nodejs_eventloop_state: 'idle' }],
    ['nodejs_eventloop_time_seconds_total', { ...worker, nodejs_eventloop_state: 'active' }],
    ['nodejs_eventloop_utilization_ratio', worker],
    ['v8js_memory_heap_used_bytes', worker],
    ['v8js_memory_heap_limit_bytes', worker],
    ['process_start_time_seconds', worker],
    ['process_cpu_seconds_total'],
    ['process_resident_memory_bytes'],
    ['process_open_fds'],
    ['process_max_fds'],
    ['plimsoll_workers', { state: 'running' }],
    ['plimsoll_ready'],
  ]
  for (const [name, labels] of positive) assert.ok(shown.sum(name, labels) > 0, name)
  const age = Date.now() / 1_000 - shown.sum('process_start_time_seconds')
  assert.ok(age > 0 && age < 60, `started ${age} s ago`)
  assert.deepEqual(
    [...shown.lines.keys()].map((line) => line.split('{')[0]!).filter((name) => !isKnown(name)),
    [],
  )
})

const isKnown = (name: string): boolean => {
  const whole = name.replace(/_(bucket|sum|count)$/, '')
  return Object.hasOwn(serviceMetrics, name) || Object.hasOwn(serviceMetrics, whole)
}

const promtool = requirement('promtool (Debian package prometheus)', hasProgram('promtool'))

test(
  'promtool has nothing against what is told, with a database and without',
  { ...limits, skip: promtool },
  async () => {
    const database = await freshDatabase()
    await migrate(database)
    for (const [workers, env] of [
      ['1', {}],
      ['2', {}],
      ['1', { DATABASE_URL: database }],
    ] as const) {
      await using service = await serve(['--workers', workers], env)
      await started(service)
      await ask(service)
      if ('DATABASE_URL' in env) await until('a statement', () => ask(service, '/db'))
      const { text } = await scrape(service.adminUrl)
      assert.equal(/^db_client_operation_/m.test(text), 'DATABASE_URL' in env)
      const checked = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' })
      assert.deepEqual([checked.status, checked.stderr, checked.stdout], [0, '', ''])
    }
  },
)

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const python = here('../../.plimsoll/test/openmetrics')
const whyNoParser = await preparePython(python, here('../support/openmetrics-requirements.txt'))
const parser = requirement(`python3 with prometheus-client (${whyNoParser})`, whyNoParser === undefined)

/** Prints exemplars as `line trace_id`; fails where the text is not as the specification has it. */
const parseProgram = `
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        if sample.exemplar: print(sample.name, sample.exemplar.labels['trace_id'])
`

test(
  "the reference parser of OpenMetrics reads it, with traces' ids as exemplars",
  { ...limits, skip: parser },
  async () => {
    for (const workers of ['1', '2']) {
      // Nobody listens there: what matters is that requests are traced.
      const env = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9', OTEL_TRACES_SAMPLER: 'always_on' }
      await using service = await serve(['--workers', workers], env)
      await started(service)
      await ask(service)
      const answer = await fetch(`${service.adminUrl}/metrics`, { headers: openMetrics })
      const input = await answer.text()
      const parsed = spawnSync(`${python}/bin/python`, ['-c', parseProgram], { input, encoding: 'utf8' })
      assert.deepEqual([parsed.status, parsed.stderr], [0, ''])
      assert.match(parsed.stdout, /^http_server_request_duration_seconds_bucket [\da-f]{32}$/m)
    }
  },
)

/** Methods that Node's parser reads, of which the semantic conventions know some. */
const methods = [
  'GET',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'HEAD',
  'OPTIONS',
  'TRACE',
  'PROPFIND',
  'MKCOL',
  'PURGE',
  'LOCK',
]

/** Requests for things that are nowhere, many on a connection; returns how many were answered with which status. */
const askForNothing = async (
  port: number,
  count: number,
  pick: (random: () => number) => string,
): Promise<number[]> => {
  const random = seededRandom(7)
  const word = (): string => random().toString(36).slice(2)
  const host = (): string => `${word()}.${word()}:${Math.floor(random() * 65_536)}`
  const target = (): string => {
    const path = `/${word()}/${word()}%${word().charCodeAt(0).toString(16)}/..//${word()}?${word()}=${word()}`
    return random() < 0.1 ? `http://${host()}${path}` : path
  }
  const statuses: number[] = []
  while (statuses.length < count) {
    const batch = Array.from({ length: 500 }, () => pick(random))
    const bytes = batch.map((method, i) =>
      requestBytes(target(), { method, headers: { Host: host(), Connection: i === 499 ? 'close' : 'keep-alive' } }),
    )
    const answers = readAnswers(await exchange(port, Buffer.concat(bytes), 30_000), batch)
    statuses.push(...answers.map(({ status }) => status))
  }
  return statuses
}

const seriesIn = ({ lines }: Scrape): string[] =>
  [...lines.keys()].filter((line) => line.startsWith('http_server_request_duration_seconds_count'))

test(
  '10,000 random URLs and hosts add one set of series, and with methods one for each that is known',
  limits,
  async () => {
    await using service = await serve([])
    await started(service)
    await ask(service)
    const before = await scrape(service.adminUrl)
    const statuses = await askForNothing(portOf(service), 10_000, () => 'GET')
    assert.deepEqual([statuses.length, new Set(statuses)], [10_000, new Set([404])])
    const after = await scrape(service.adminUrl)
    const added = seriesIn(after).filter((line) => !before.lines.has(line))
    assert.equal(added.length, 1, added.join('\n'))
    assert.equal(after.lines.get(added[0]!), 10_000)
    // The histogram of these requests and the counter of their problem.
    const lines = [...after.lines.keys()].filter((line) => !before.lines.has(line) && !/unmatched/.test(line))
    assert.deepEqual(lines, ['plimsoll_problems_total{code="not-found"}'])

    await askForNothing(portOf(service), 2_000, (random) => methods[Math.floor(random() * methods.length)]!)
    const all = seriesIn(await scrape(service.adminUrl)).filter((line) => !before.lines.has(line))
    const told = new Set(all.map((line) => /http_request_method="(\w+)"/.exec(line)![1]))
    assert.equal(all.length, told.size, all.join('\n'))
    assert.deepEqual(told, new Set(['DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT', 'TRACE', '_OTHER']))
  },
)
