import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadMetrics } from '../../src/contract/load-metrics.ts'
import { serviceMetrics } from '../../src/contract/metrics.ts'
import { type MetricInfo } from '../../src/kit/metrics.ts'
import { everyQuery, type PlacedQuery } from '../../src/observability/every-query.ts'
import { foreignMetrics } from '../../src/observability/foreign-metrics.ts'
import { defaultOptions } from '../../src/observability/options.ts'
import { alerts, recordingRules } from '../../src/observability/rules/index.ts'
import { labelsKeptIn, metricOf as baseOf, seriesNamedIn } from '../support/named-series.ts'
import { needsPromtool, promtool } from '../support/promtool.ts'

const everything: readonly PlacedQuery[] = [
  ...everyQuery(defaultOptions, { window: '1m', loadJob: '.+' }),
  ...alerts(defaultOptions).map(({ name, expr }) => ({ where: `alert ${name}`, expr })),
]

const ours: Readonly<Record<string, MetricInfo>> = { ...serviceMetrics, ...loadMetrics }
const foreign: Readonly<Record<string, readonly string[]>> = foreignMetrics
const recorded = new Set(recordingRules(defaultOptions).flatMap(({ rules }) => rules.map(({ record }) => record)))

const metricOf = (series: string): string => baseOf(series, (name) => Object.hasOwn(ours, name))

/** What Prometheus adds to every series that it scrapes, also inside Kubernetes. */
const targetLabels = ['job', 'instance', 'namespace', 'pod']

test('promtool takes every expression of dashboards, variables, rules and scaling', { skip: needsPromtool }, () => {
  assert.ok(everything.length > 150)
  const rules = everything.map(({ expr }, i) => ({ record: `query:${i}`, expr }))
  assert.equal(promtool(['check', 'rules'], { groups: [{ name: 'queries', rules }] }), undefined)
})

test('no variable is left in an expression that is to be asked', () => {
  for (const { where, expr } of everything) assert.doesNotMatch(expr, /\$(?!\{\w+:?\w*\}"|\d|"|\))|<</, where)
})

test('every metric that an expression names is in a contract, is recorded, or is on the list of foreign ones', () => {
  for (const { where, expr } of everything) {
    const selectors = seriesNamedIn(expr)
    assert.ok(selectors.length > 0, where)
    for (const { name } of selectors) {
      const known = Object.hasOwn(ours, metricOf(name)) || Object.hasOwn(foreign, name) || recorded.has(name)
      assert.ok(known, `${where}: ${name} in ${expr}`)
    }
  }
})

test('a histogram is looked at by its buckets, sum or count', () => {
  for (const { where, expr } of everything) {
    for (const { name } of seriesNamedIn(expr)) assert.notEqual(ours[name]?.type, 'histogram', `${where}: ${name}`)
  }
})

test('of a counter only its growth is looked at, of a gauge never', () => {
  const growth = new Set(['rate', 'increase'])
  // A metric's mere being there may be looked at.
  const presence = new Set(['absent', 'absent_over_time', 'count'])
  const asked = everything.filter(({ where }) => !where.includes('variable '))
  for (const { where, expr } of asked) {
    for (const { name, within } of seriesNamedIn(expr)) {
      const type = ours[metricOf(name)]?.type
      if (type === undefined || presence.has(within)) continue
      assert.equal(growth.has(within), type !== 'gauge', `${where}: ${within}(${name})`)
    }
  }
})

test('every label by which an expression chooses series is one that the metric has', () => {
  for (const { where, expr } of everything) {
    for (const { name, labels } of seriesNamedIn(expr)) {
      if (recorded.has(name)) continue
      const has = new Set([...(ours[metricOf(name)]?.labels ?? foreign[name] ?? []), ...targetLabels, 'le'])
      for (const label of labels) assert.ok(has.has(label), `${where}: ${name}{${label}}`)
    }
  }
})

test('every label by which an expression keeps series apart is one that some metric in it has', () => {
  for (const { where, expr } of everything) {
    const selectors = seriesNamedIn(expr)
    if (selectors.some(({ name }) => recorded.has(name))) continue
    const made = [...expr.matchAll(/label_replace\(.*?, "(\w+)",/g)].map(([, label]) => label!)
    const has = selectors.flatMap(({ name }) => [...(ours[metricOf(name)]?.labels ?? foreign[name] ?? [])])
    const known = new Set([...has, ...targetLabels, ...made, 'le'])
    for (const label of labelsKeptIn(expr)) assert.ok(known.has(label), `${where}: by (${label})`)
  }
})

test('these checks see what they look for', () => {
  assert.deepEqual(
    seriesNamedIn('sum by (a, le) (rate(x_bucket{b="c{d}",e!~"f"}[5m])) / on (g) group_left () max(y) or z{h="i"} * 0'),
    [
      { name: 'x_bucket', selector: 'x_bucket{b="c{d}",e!~"f"}', labels: ['b', 'e'], within: 'rate' },
      { name: 'y', selector: 'y', labels: [], within: 'max' },
      { name: 'z', selector: 'z{h="i"}', labels: ['h'], within: '' },
    ],
  )
  assert.deepEqual(
    seriesNamedIn('histogram_quantile(0.9, sum(rate(level:x:rate1m{job="j"}[1m])))').map(({ name }) => name),
    ['level:x:rate1m'],
  )
  assert.deepEqual(
    seriesNamedIn('count by (a) (x{b="on (c) or d"} == 0) and e offset 15m <= bool +Inf').map(({ name, within }) => [
      name,
      within,
    ]),
    [
      ['x', 'count'],
      ['e', ''],
    ],
  )
  assert.deepEqual(labelsKeptIn('max by (a, b) (x) / on (c) group_left (d) y{e="by (f)"}'), ['a', 'b', 'c', 'd'])
  assert.equal(metricOf('http_server_request_duration_seconds_bucket'), 'http_server_request_duration_seconds')
  assert.equal(metricOf('plimsoll_db_connections'), 'plimsoll_db_connections')
})
