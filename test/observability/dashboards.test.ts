import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { colours } from '../../src/observability/dashboards/colours.ts'
import { grafanaDashboard } from '../../src/observability/dashboards/dashboard.ts'
import { dashboards } from '../../src/observability/dashboards/index.ts'
import { place, type Placed } from '../../src/observability/dashboards/layout.ts'
import { defaultOptions } from '../../src/observability/options.ts'

const all = Object.entries(dashboards(defaultOptions))
const panels = all.flatMap(([file, { rows }]) =>
  rows.flatMap(({ panels }) => panels.map((panel) => ({ ...panel, where: `${file}: ${panel.title}` }))),
)
const json = all.map(([file, dashboard]) => ({ file, text: JSON.stringify(grafanaDashboard(dashboard)) }))

type Target = { readonly expr: string; readonly refId: string; readonly datasource: { readonly uid: string } }
type GrafanaPanel = {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly targets?: readonly Target[]
  readonly transformations?: readonly { readonly id: string }[]
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
}
const parsed = json.map(({ file, text }) => ({ file, ...(JSON.parse(text) as { panels: GrafanaPanel[] }) }))

const overlap = (a: Placed['place'], b: Placed['place']): boolean =>
  a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h

const assertPlaced = (places: readonly Placed['place'][]): void => {
  for (const [i, one] of places.entries()) {
    assert.ok(one.x >= 0 && one.x + one.w <= 24, `${i} leaves the grid`)
    for (const other of places.slice(i + 1)) assert.ok(!overlap(one, other), JSON.stringify([one, other]))
  }
}

test('there are dashboards of the service, of one replica, of the fleet and of load runs', () => {
  assert.deepEqual(
    all.map(([file]) => file),
    ['service.json', 'saturation.json', 'fleet.json', 'lab.json'],
  )
})

/** Those that Grafana knows and that our panels use; one that it does not know is shown as text behind the number. */
const units = new Set(['s', 'percentunit', 'reqps', 'ops', 'bytes', 'short', 'suffix: cores'])

test('every panel has a title of its own, a description that is a sentence, a unit that Grafana knows, and queries', () => {
  for (const { where, description, unit, queries } of panels) {
    assert.match(description, /^[A-Z0-9].{20,}[.]$/s, where)
    assert.ok(units.has(unit), `${where}: ${unit}`)
    assert.ok(queries.length > 0, where)
  }
  for (const [file, { rows }] of all) {
    const titles = rows.flatMap(({ panels }) => panels.map(({ kind, title }) => `${kind} ${title}`))
    assert.equal(new Set(titles).size, titles.length, file)
  }
})

test('a table of several queries shows them side by side', () => {
  const tables = parsed.flatMap(({ panels }) => panels.filter(({ type }) => type === 'table'))
  assert.ok(tables.some(({ targets }) => targets!.length > 1))
  for (const { title, transformations } of tables) assert.equal(transformations![0]!.id, 'merge', title)
})

test('panels of any sizes fill the grid without leaving or overlapping it', () => {
  const panel = fc.record({
    kind: fc.constantFrom('lines' as const, 'number' as const),
    title: fc.string(),
    description: fc.string(),
    unit: fc.constant('s'),
    queries: fc.constant([]),
    width: fc.integer({ min: 1, max: 24 }),
    height: fc.integer({ min: 1, max: 12 }),
  })
  const rows = fc.array(fc.record({ title: fc.string(), panels: fc.array(panel, { maxLength: 9 }) }), { maxLength: 5 })
  fc.assert(
    fc.property(rows, (rows) => {
      const placed = place(rows)
      assert.equal(placed.length, rows.length + rows.flatMap(({ panels }) => panels).length)
      assertPlaced(placed.map(({ place }) => place))
    }),
  )
})

test('no two panels of a dashboard overlap', () => {
  for (const { panels } of parsed) assertPlaced(panels.map(({ gridPos }) => gridPos))
})

test('every variable is used, and every variable that is used is there', () => {
  const own = new Set(['__rate_interval', '__range', '__field', '__from', '__to', '__all'])
  for (const [i, { file, text }] of json.entries()) {
    const defined = all[i]![1].variables.map(({ name }) => name)
    const used = [...text.matchAll(/\$\{?(\w+)/g)].map(([, name]) => name!).filter((name) => !own.has(name))
    assert.deepEqual(new Set(used), new Set(defined), file)
  }
})

test('job and instance are chosen among those that have our metrics, and several instances or all at once', () => {
  for (const [file, { variables }] of all) {
    const of = (name: string) => variables.find((variable) => variable.name === name)!
    assert.equal(of('job').kind, 'label', file)
    assert.equal((of('instance') as { several?: boolean }).several, true, file)
    assert.equal(of('datasource').kind, 'data source', file)
  }
})

test('a dashboard has no ids of a certain Grafana: no number, no data source but the chosen one, no inputs', () => {
  for (const [i, { file, text }] of json.entries()) {
    const dashboard = JSON.parse(text) as { id: unknown; uid: string; __inputs?: unknown }
    assert.equal(dashboard.id, null, file)
    assert.equal(dashboard.uid, `plimsoll-${file.replace('.json', '')}`)
    assert.ok(!text.includes('__inputs'), file)
    const uids = [...text.matchAll(/"datasource":\{"type":"\w+","uid":"([^"]*)"/g)].map(([, uid]) => uid)
    assert.ok(uids.length > 0 && uids.every((uid) => uid === '${datasource}'), file)
    const ids = parsed[i]!.panels.map(({ id }) => id)
    assert.equal(new Set(ids).size, ids.length, file)
  }
})

test('every query of a panel has a letter of its own', () => {
  for (const { panels } of parsed) {
    for (const { title, targets = [] } of panels) {
      assert.equal(new Set(targets.map(({ refId }) => refId)).size, targets.length, title)
    }
  }
})

test('a legend names only labels that its expression keeps', () => {
  for (const { where, queries } of panels) {
    for (const { expr, legend } of queries) {
      for (const [, label] of legend.matchAll(/\{\{(\w+)\}\}/g)) {
        assert.match(
          expr,
          new RegExp(String.raw`by \([^)]*\b${label}\b|label_replace\(.*"${label}"`),
          `${where}: ${legend}`,
        )
      }
    }
  }
})

test('durations of requests show exemplars, and nothing shows them twice', () => {
  const withExemplars = panels.filter(({ queries }) => queries.some(({ exemplars }) => exemplars === true))
  assert.deepEqual(
    withExemplars.map(({ title }) => title),
    ['Duration', 'Distribution of durations', '99th percentile by route'],
  )
  for (const { where, queries } of withExemplars) {
    const exemplary = queries.filter(({ exemplars }) => exemplars === true)
    assert.equal(exemplary.length, 1, where)
    assert.match(exemplary[0]!.expr, /http_server_request_duration_seconds_bucket/, where)
  }
})

for (const traces of ['tempo', 'jaeger'] as const) {
  test(`a link to traces in ${traces} is a URL whose variables are left for Grafana to fill in`, () => {
    const dashboard = dashboards({ ...defaultOptions, traces })['service.json']!
    const links = dashboard.rows.flatMap(({ panels }) => panels.flatMap(({ links = [] }) => links))
    assert.ok(links.length > 0)
    for (const { url } of links) {
      const filled = url.replaceAll('${__field.labels.http_route}', '/items/:id').replaceAll(/\$\{\w+\}/g, 'x')
      const panes = JSON.parse(new URL(filled, 'http://grafana').searchParams.get('panes')!) as {
        traces: { queries: [Readonly<Record<'query' | 'tags', string | undefined>>] }
      }
      assert.ok((panes.traces.queries[0].query ?? panes.traces.queries[0].tags)!.includes('"/items/:id"'))
    }
  })
}

test('what is good, slow, wrong or a limit has a colour of its own that every kind of colour vision tells apart', () => {
  // Okabe and Ito's palette without black.
  const palette = ['#E69F00', '#56B4E9', '#009E73', '#F0E442', '#0072B2', '#D55E00', '#CC79A7']
  assert.deepEqual(Object.values(colours).toSorted(), palette.toSorted())
  const used = json.flatMap(({ text }) => text.match(/#[0-9A-Fa-f]{6}\b/g) ?? [])
  assert.ok(used.every((colour) => palette.includes(colour)))
})
