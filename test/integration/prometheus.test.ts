/** A fleet under load, scraped by a real Prometheus: what dashboards, rules and scaling ask for is really there. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { loadMetrics } from '../../src/contract/load-metrics.ts'
import { serviceMetrics } from '../../src/contract/metrics.ts'
import { everyQuery } from '../../src/observability/every-query.ts'
import { foreignMetrics } from '../../src/observability/foreign-metrics.ts'
import { defaultOptions } from '../../src/observability/options.ts'
import { alerts, recordingRules, ruleFiles } from '../../src/observability/rules/index.ts'
import { scalingMetrics } from '../../src/observability/scaling/targets.ts'
import { type ObservedFleet, startObservedFleet } from '../support/observed-fleet.ts'
import { idleMetrics, lackingMetrics } from '../support/platform.ts'
import { type Target, withoutPrometheus } from '../support/prometheus.ts'
import { metricOf, type NamedSeries, seriesNamedIn } from '../support/named-series.ts'
import { type KnownLoad, startKnownLoad, startTraffic, type Traffic } from '../support/traffic.ts'
import { until } from '../support/until.ts'

const options = { ...defaultOptions, job: 'plimsoll' }
const queries = withoutPrometheus ? [] : everyQuery(options, { window: '1m', loadJob: 'plimsoll-load' })
const recorded = recordingRules(options).flatMap(({ rules }) => rules)
const contract: readonly string[] = [...Object.keys(serviceMetrics), ...Object.keys(loadMetrics)]
const foreign: readonly string[] = Object.keys(foreignMetrics)
const lacking = lackingMetrics()
const idle = idleMetrics()

/** Whether an expression cannot have data on this machine: each of its alternatives looks at what cannot. */
const isLacking = (expr: string): boolean =>
  expr
    .split(/\bor\b/)
    .every((alternative) => seriesNamedIn(alternative).some(({ name }) => lacking.has(name) || idle.has(name)))

/** Whether this is true of a series, or of all that is recorded under its name and labels. */
const isLackingSeries = ({ name, selector }: NamedSeries): boolean => {
  const sources = recorded.filter(
    ({ record, labels = {} }) =>
      record === name &&
      Object.entries(labels).every(
        ([label, value]) => !selector.includes(`${label}=`) || selector.includes(`"${value}"`),
      ),
  )
  return sources.length === 0 ? isLacking(selector) : sources.every(({ expr }) => isLacking(expr))
}

/** How long a busy machine may take until everything has been scraped, recorded and shown. */
const patienceMs = 40_000

describe('a fleet under load', { skip: withoutPrometheus, timeout: 180_000 }, () => {
  let fleet: ObservedFleet
  let traffic: Traffic
  let known: KnownLoad
  const parts = new AsyncDisposableStack()

  before(async () => {
    fleet = parts.use(await startObservedFleet(ruleFiles(options)))
    known = startKnownLoad(fleet.counted.url)
    traffic = parts.use(startTraffic([fleet.alone.url, fleet.narrow.url], 1))
  })

  after(() => parts.disposeAsync())

  /** Those of the expressions that have no value that is a number, after they had time to get one. */
  const withoutData = async (expressions: readonly string[]): Promise<ReadonlySet<string>> => {
    const missing = new Set(expressions)
    const ask = async (): Promise<boolean> => {
      for (const expression of missing) if (await hasData(expression)) missing.delete(expression)
      return missing.size === 0
    }
    await until('data for every query', ask, patienceMs).catch(() => {})
    return missing
  }

  const hasData = async (expression: string): Promise<boolean> =>
    (await fleet.prometheus.query(expression)).some(({ value }) => !Number.isNaN(value))

  test('every target is scraped, whole and without a complaint', async () => {
    const { prometheus } = fleet
    await prometheus.scraped(patienceMs)
    const troubled = async (): Promise<readonly Target[]> => (await prometheus.targets()).filter(({ up }) => !up)
    // On a busy machine a scrape may take longer than its second: then the next one counts.
    await until('all targets up', async () => (await troubled()).length === 0, patienceMs).catch(() => {})
    assert.deepEqual(await troubled(), [])
    assert.deepEqual(await prometheus.query('scrape_samples_scraped != scrape_samples_post_metric_relabeling'), [])
    assert.deepEqual(await prometheus.query('max_over_time(scrape_samples_scraped[1m]) == 0'), [])
    assert.deepEqual(
      prometheus.log.filter((line) => /level=(warn|error)/.test(line) && /scrape|ingest|append|exemplar/i.test(line)),
      [],
    )
  })

  test('the rate of the integral is the true mean concurrency, scraped each second or every five', async () => {
    const { prometheus } = fleet
    const integral = 'plimsoll_requests_seconds_total'
    // What `rate` makes of a window that has samples in a part of it only is less.
    const longAgo = `${integral}{job=~"counted.*"} offset 20s`
    await until('samples of 20 s', async () => (await prometheus.query(longAgo)).length === 2, patienceMs)
    const look = async (): Promise<{ readonly rates: Record<string, number>; readonly expected: number }> => {
      const found = await prometheus.query(`rate(${integral}{job=~"counted.*"}[20s])`)
      const rates = Object.fromEntries(found.map(({ labels, value }) => [labels['job'], value]))
      return { rates, expected: known.meanInFlight(20) }
    }
    // A scrape that a busy machine has missed at the edge of the window leaves a part of it out: then the next one is looked at.
    const isExact = async (): Promise<boolean> => {
      const { rates, expected } = await look()
      return ['counted', 'counted-5s'].every((job) => Math.abs(rates[job]! / expected - 1) < 0.03)
    }
    const exact = await until('the true mean', isExact, 20_000).catch(() => false)
    assert.ok(exact, JSON.stringify(await look()))
  })

  test('the counts of histograms are the requests that were sent, to the last one', async () => {
    const { counted, prometheus } = fleet
    const { answered, givenUp } = await known.end()
    const sent: Record<string, number> = { 'GET /work/wait 2xx': answered, 'GET /work/wait 4xx': givenUp }
    const send = async (times: number, path: string, line: string, init: RequestInit = {}): Promise<void> => {
      const answers = await Promise.all(Array.from({ length: times }, () => fetch(`${counted.url}${path}`, init)))
      await Promise.all(answers.map((answer) => answer.arrayBuffer()))
      sent[line] = (sent[line] ?? 0) + times
    }
    await send(37, '/json', 'GET /json 2xx')
    await send(11, '/json', 'HEAD /json 2xx', { method: 'HEAD' })
    await send(23, `/made/up/${performance.now()}`, 'GET unmatched 4xx')
    await send(5, '/work/wait?ms=x', 'GET /work/wait 4xx')
    await send(3, '/db', 'GET /db 5xx')
    const by = 'http_request_method,http_route,http_response_status_class'
    const histogram = 'http_server_request_duration_seconds'
    const count = async (series: string): Promise<Record<string, number>> =>
      Object.fromEntries(
        (await prometheus.query(`sum by (${by}) (${series}) > 0`)).map(({ labels, value }) => {
          const { http_request_method: method, http_route: route, http_response_status_class: status } = labels
          return [`${method} ${route} ${status}`, value]
        }),
      )
    for (const series of [`${histogram}_count{job="counted"}`, `${histogram}_bucket{job="counted",le="+Inf"}`]) {
      const isThere = async (): Promise<boolean> => isDeepStrictEqual(await count(series), sent)
      await until('all requests', isThere, patienceMs).catch(() => {})
      assert.deepEqual(await count(series), sent, series)
    }
  })

  test('every query of dashboards, recording rules and scaling has data', async (t) => {
    assert.ok(queries.length > 100, `${queries.length} queries`)
    const missing = await withoutData(queries.map(({ expr }) => expr).filter((expr) => !isLacking(expr)))
    for (const [metric, reason] of [...lacking, ...idle]) t.diagnostic(`not on this machine: ${metric}: ${reason}`)
    assert.deepEqual(
      queries.filter(({ expr }) => missing.has(expr)).map(({ where, expr }) => `${where}: ${expr}`),
      [],
    )
  })

  test('every rule is evaluated without an error', async () => {
    const rules = await until('rules', async () => {
      const known = await fleet.prometheus.rules()
      return known.every(({ health }) => health !== 'unknown') && known
    })
    assert.equal(rules.length, recorded.length + alerts(options).length)
    assert.deepEqual(
      rules.filter(({ health }) => health !== 'ok'),
      [],
    )
  })

  test('every series that an alert looks at is there', async () => {
    const looks = alerts(options).flatMap(({ name: alert, expr }) =>
      seriesNamedIn(expr).map((series) => ({ alert, series })),
    )
    const possible = looks.filter(({ series }) => !isLackingSeries(series))
    const missing = await withoutData(possible.map(({ series }) => series.selector))
    assert.deepEqual(
      possible
        .filter(({ series }) => missing.has(series.selector))
        .map(({ alert, series }) => `${alert}: ${series.selector}`),
      [],
    )
  })

  test('an exemplar of Prometheus leads to the trace that the collector has of that request', async () => {
    const { prometheus, collector } = fleet
    const histogram = 'http_server_request_duration_seconds_bucket{job="plimsoll"}'
    const series = await until('exemplars', async () => {
      const found = await prometheus.exemplars(histogram)
      return found.length > 20 && found
    })
    const all = series.flatMap(({ labels, exemplars }) =>
      exemplars.map((exemplar) => ({ series: labels, ...exemplar })),
    )
    const spansById = await collector.until((spans) => {
      const known = new Map(spans.map((span) => [span.spanId, span]))
      return all.every(({ labels }) => known.has(labels['span_id']!)) && known
    }, patienceMs)
    for (const { series: of, labels, value } of all) {
      const span = spansById.get(labels['span_id']!)!
      assert.equal(span.traceId, labels['trace_id'])
      assert.equal(span.attributes['http.request.method'], of['http_request_method'])
      assert.equal(span.attributes['http.route'] ?? 'unmatched', of['http_route'])
      assert.ok(Math.abs(span.endMs - span.startMs - value * 1_000) < 1, `${span.endMs - span.startMs} ms, ${value} s`)
    }
    assert.ok(all.some(({ series: of }) => of['http_response_status_class'] === '5xx'))
  })

  /** The metrics that Prometheus has from the fleet, histograms by the names that they are described under. */
  const scrapedMetrics = async (): Promise<ReadonlySet<string>> => {
    const series = await fleet.prometheus.query('count by (__name__) ({__name__=~".+"})')
    const isMetric = (name: string): boolean => contract.includes(name)
    return new Set(series.map(({ labels }) => metricOf(labels['__name__']!, isMetric)))
  }

  test('every metric of the contract is emitted by a fleet of which all parts are in use', async () => {
    const emitted = await scrapedMetrics()
    assert.deepEqual(
      contract.filter((name) => !emitted.has(name) && !lacking.has(name)),
      [],
    )
    assert.deepEqual(
      [...lacking.keys()].filter((name) => emitted.has(name)),
      [],
      'what is lacking is not there',
    )
  })

  test('nothing is emitted under a name or with a label that the contract does not have', async () => {
    const ours = /^(plimsoll|http|db|nodejs|v8js|process)_/
    const emitted = [...(await scrapedMetrics())].filter((name) => ours.test(name))
    assert.deepEqual(
      emitted.filter((name) => !contract.includes(name)),
      [],
    )
    const described: Readonly<Record<string, { readonly labels: readonly string[] }>> = {
      ...serviceMetrics,
      ...loadMetrics,
    }
    for (const name of emitted) {
      const allowed = new Set([...described[name]!.labels, 'le', 'job', 'instance', '__name__'])
      const found = await fleet.prometheus.query(`{__name__=~"${name}(_bucket|_sum|_count)?"}`)
      const labels = new Set(found.flatMap((series) => Object.keys(series.labels)))
      assert.deepEqual(
        [...labels].filter((label) => !allowed.has(label)),
        [],
        name,
      )
    }
  })

  test('every metric that dashboards, rules, scaling and documents name is emitted', async () => {
    const emitted = await scrapedMetrics()
    const isKnown = (name: string): boolean =>
      emitted.has(metricOf(name, (family) => contract.includes(family))) || lacking.has(name)
    const named = [...queries, ...alerts(options).map(({ name, expr }) => ({ where: name, expr }))].flatMap(
      ({ where, expr }) => seriesNamedIn(expr).map(({ name }) => ({ where, name })),
    )
    assert.deepEqual(
      named.filter(({ name }) => !isKnown(name)),
      [],
    )
    assert.deepEqual(
      foreign.filter((name) => !emitted.has(name)),
      [],
      'the list of foreign metrics is shown by the fixture',
    )
    assert.deepEqual(
      namesInDocuments().filter(({ name }) => !isKnown(name) && !isOtherName(name, emitted)),
      [],
    )
  })

  test('the traffic that all this is seen under was of every kind', () => {
    const statuses = new Set([...traffic.tally.keys()].map((line) => line.split(' ')[2]))
    for (const status of ['200', '201', '204', '400', '404', '405', '502', '503', '504']) {
      assert.ok(statuses.has(status), `${status} is not among ${[...statuses].join(', ')}`)
    }
  })
})

const root = new URL('../../', import.meta.url)

/** What looks like a metric of ours in README and docs, with where it stands. */
const namesInDocuments = (): { readonly file: string; readonly name: string }[] => {
  const docs = readdirSync(new URL('docs', root)).filter((file) => file.endsWith('.md'))
  return ['README.md', ...docs.map((file) => `docs/${file}`)].flatMap((file) => {
    const text = readFileSync(new URL(file, root), 'utf8')
    const shape =
      /\b(?:plimsoll|http_server|http_client|db_client|nodejs|v8js|kube)_[a-z0-9_]+|[a-z_]+:[a-z0-9_]+:[a-z0-9_]+/g
    return [...new Set(text.match(shape))].map((name) => ({ file, name }))
  })
}

/** Whether it is no metric but a label, what a scaler calls a metric, or the beginning of several names. */
const isOtherName = (name: string, emitted: ReadonlySet<string>): boolean => {
  const labels = Object.values({ ...serviceMetrics, ...loadMetrics }).flatMap(
    (metric): readonly string[] => metric.labels,
  )
  const scalers = Object.values(scalingMetrics).map((metric): string => metric.name)
  const isStem = name.endsWith('_') && [...emitted].some((metric) => metric.startsWith(name))
  return labels.includes(name) || scalers.includes(name) || isStem
}
