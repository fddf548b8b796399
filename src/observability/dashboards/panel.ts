import { colours, type Meaning } from './colours.ts'

/** One expression of a panel. */
export type Query = {
  readonly expr: string
  /** What the legend says of each series, with labels as `{{label}}`. */
  readonly legend: string
  /** The colour of its series; default: each its own, by name. */
  readonly meaning?: Meaning
  /** Shows single requests as points that lead to their traces. */
  readonly exemplars?: true
}

/** How a panel shows its queries. */
export type PanelKind = 'lines' | 'stacked' | 'number' | 'bars' | 'heat map' | 'states' | 'table'

/** Where a value begins to mean something: from this value on, it has this meaning. */
export type Threshold = readonly [from: number, meaning: Meaning]

export type Panel = {
  readonly kind: PanelKind
  readonly title: string
  /** What is seen, what is good, and what to do when it is not. */
  readonly description: string
  /** A unit of Grafana: `s`, `percentunit`, `reqps`, `bytes`, `short`. */
  readonly unit: string
  readonly queries: readonly Query[]
  /** Of 24 columns; default: 8, of a number 4. */
  readonly width?: number
  /** Of about 30 pixels each; default: 8, of a number 4. */
  readonly height?: number
  /** The least upper end of the axis. */
  readonly softMax?: number
  readonly thresholds?: readonly Threshold[]
  /** Meanings of series by a regular expression on what the legend says. */
  readonly meanings?: Readonly<Record<string, Meaning>>
  /** Links from a series to elsewhere. */
  readonly links?: readonly DataLink[]
}

export type DataLink = { readonly title: string; readonly url: string }

export type Place = { readonly x: number; readonly y: number; readonly w: number; readonly h: number }

type Json = Readonly<Record<string, unknown>>

const dataSource = { type: 'prometheus', uid: '${datasource}' }

/** A panel as Grafana's JSON. `id` is its number on its dashboard. */
export const grafanaPanel = (panel: Panel, id: number, place: Place): Json => ({
  id,
  type: types[panel.kind],
  title: panel.title,
  description: panel.description,
  datasource: dataSource,
  gridPos: { h: place.h, w: place.w, x: place.x, y: place.y },
  targets: panel.queries.map((query, i) => targetOf(panel.kind, query, i)),
  fieldConfig: { defaults: fieldsOf(panel), overrides: overridesOf(panel) },
  options: optionsOf(panel),
  ...(panel.kind === 'table' ? { transformations: tableOf } : {}),
})

const types = {
  lines: 'timeseries',
  stacked: 'timeseries',
  number: 'stat',
  bars: 'bargauge',
  'heat map': 'heatmap',
  states: 'state-timeline',
  table: 'table',
} as const satisfies Record<PanelKind, string>

/** The letters that Grafana itself would give: A, B, ... */
const refIdOf = (index: number): string => String.fromCodePoint(65 + index)

const targetOf = (kind: PanelKind, { expr, legend, exemplars }: Query, index: number): Json => {
  const instant = kind === 'bars' || kind === 'table'
  return {
    refId: refIdOf(index),
    datasource: dataSource,
    editorMode: 'code',
    expr,
    legendFormat: legend,
    format: kind === 'heat map' ? 'heatmap' : kind === 'table' ? 'table' : 'time_series',
    instant,
    range: !instant,
    exemplar: exemplars === true,
  }
}

const fieldsOf = ({ kind, unit, softMax, thresholds = [], links = [] }: Panel): Json => ({
  unit,
  min: 0,
  ...(kind === 'bars' ? { max: softMax ?? 1 } : {}),
  color: { mode: colourModeOf(kind, thresholds) },
  thresholds: { mode: 'absolute', steps: stepsOf(thresholds) },
  mappings: kind === 'states' ? yesAndNo : [],
  links: links.map((link) => ({ ...link, targetBlank: false })),
  custom: customOf(kind, softMax, thresholds),
})

const colourModeOf = (kind: PanelKind, thresholds: readonly Threshold[]): string =>
  kind === 'number' || kind === 'bars' || (kind === 'states' && thresholds.length > 0)
    ? 'thresholds'
    : 'palette-classic-by-name'

const stepsOf = (thresholds: readonly Threshold[]): Json[] => [
  { color: colours[thresholds.length === 0 ? 'usual' : 'ok'], value: null },
  ...thresholds.map(([value, meaning]) => ({ color: colours[meaning], value })),
]

const yesAndNo = [
  {
    type: 'value',
    options: {
      0: { text: 'no', color: colours.second, index: 0 },
      1: { text: 'yes', color: colours.usual, index: 1 },
    },
  },
]

const customOf = (kind: PanelKind, softMax: number | undefined, thresholds: readonly Threshold[]): Json => {
  if (kind === 'states') return { fillOpacity: 70, lineWidth: 0 }
  if (kind !== 'lines' && kind !== 'stacked') return {}
  return {
    drawStyle: 'line',
    lineWidth: 1,
    fillOpacity: kind === 'stacked' ? 40 : 5,
    showPoints: 'never',
    // Where a replica was not scraped there is a gap, not a line over it.
    spanNulls: false,
    stacking: { mode: kind === 'stacked' ? 'normal' : 'none', group: 'A' },
    axisSoftMin: 0,
    ...(softMax === undefined ? {} : { axisSoftMax: softMax }),
    thresholdsStyle: { mode: thresholds.length === 0 ? 'off' : 'dashed' },
  }
}

const overridesOf = ({ kind, queries, meanings = {} }: Panel): Json[] => [
  ...Object.entries(meanings).map(([pattern, meaning]) => override({ id: 'byRegexp', options: pattern }, meaning)),
  ...queries.flatMap(({ meaning }, i) =>
    meaning === undefined ? [] : [override({ id: 'byFrameRefID', options: refIdOf(i) }, meaning, kind)],
  ),
]

const override = (matcher: Json, meaning: Meaning, kind: PanelKind = 'lines'): Json => ({
  matcher,
  properties: [
    { id: 'color', value: { mode: 'fixed', fixedColor: colours[meaning] } },
    ...(meaning === 'limit' && kind !== 'number' ? limitLine : []),
  ],
})

/** A limit is a dashed line without an area, never part of a stack. */
const limitLine: readonly Json[] = [
  { id: 'custom.lineStyle', value: { fill: 'dash', dash: [8, 6] } },
  { id: 'custom.fillOpacity', value: 0 },
  { id: 'custom.stacking', value: { mode: 'none', group: 'limit' } },
]

const optionsOf = (panel: Panel): Json => optionsByKind[panel.kind](panel)

const tooltip = { mode: 'multi', sort: 'desc' }
const lastValue = { calcs: ['lastNotNull'], fields: '', values: false }

const lineOptions = (): Json => ({
  legend: { displayMode: 'table', placement: 'bottom', showLegend: true, calcs: ['lastNotNull', 'max'] },
  tooltip,
})

const optionsByKind: Readonly<Record<PanelKind, (panel: Panel) => Json>> = {
  lines: lineOptions,
  stacked: lineOptions,
  number: () => ({
    reduceOptions: lastValue,
    colorMode: 'value',
    graphMode: 'area',
    justifyMode: 'auto',
    orientation: 'auto',
    textMode: 'auto',
    wideLayout: true,
    showPercentChange: false,
    percentChangeColorMode: 'standard',
  }),
  bars: () => ({
    reduceOptions: lastValue,
    displayMode: 'gradient',
    orientation: 'horizontal',
    valueMode: 'text',
    namePlacement: 'left',
    sizing: 'auto',
    minVizWidth: 8,
    minVizHeight: 16,
    maxVizHeight: 300,
    showUnfilled: true,
    legend: { displayMode: 'list', placement: 'bottom', showLegend: false, calcs: [] },
  }),
  'heat map': ({ unit }) => ({
    calculate: false,
    color: { mode: 'scheme', scheme: 'Viridis', fill: colours.usual, exponent: 0.5, steps: 64, reverse: false },
    exemplars: { color: colours.error },
    filterValues: { le: 1e-9 },
    legend: { show: true },
    rowsFrame: { layout: 'auto' },
    showValue: 'never',
    tooltip: { mode: 'single', yHistogram: true, showColorScale: true },
    yAxis: { axisPlacement: 'left', unit, reverse: false },
    cellGap: 1,
  }),
  states: () => ({
    mergeValues: true,
    showValue: 'auto',
    alignValue: 'left',
    rowHeight: 0.8,
    legend: { displayMode: 'list', placement: 'bottom', showLegend: false, calcs: [] },
    tooltip,
  }),
  table: () => ({ showHeader: true, cellHeight: 'sm' }),
}

/**
 * All queries in one table, a row for each set of labels, without what every table of Prometheus has beside them. Unmerged,
 * Grafana shows one query at a time.
 */
const tableOf = [
  { id: 'merge', options: {} },
  { id: 'organize', options: { excludeByName: { Time: true, __name__: true }, indexByName: {}, renameByName: {} } },
]
