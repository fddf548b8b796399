import { place, type Placed, type Row } from './layout.ts'
import { colours } from './colours.ts'
import { type DataLink, grafanaPanel } from './panel.ts'
import { grafanaVariable, type Variable } from './variables.ts'

/** A dashboard as data. */
export type Dashboard = {
  /** The only thing that stays when it is loaded again: links point at it. */
  readonly uid: string
  readonly title: string
  readonly description: string
  readonly variables: readonly Variable[]
  readonly rows: readonly Row[]
  readonly links: readonly DataLink[]
  /** A gauge of start times in seconds, to mark the starts of processes in every panel. */
  readonly starts?: string
}

type Json = Readonly<Record<string, unknown>>

/** Of Grafana 11.0. Newer versions migrate what they read; an older one may not know all of it. */
const schemaVersion = 39

const tag = 'plimsoll'

/** A dashboard in the JSON that Grafana imports and provisions: no ids of a certain Grafana, no inputs to be asked for. */
export const grafanaDashboard = ({ uid, title, description, variables, rows, links, starts }: Dashboard): Json => ({
  id: null,
  uid,
  title,
  description,
  tags: [tag],
  schemaVersion,
  version: 1,
  editable: true,
  // Shared crosshair and tooltip.
  graphTooltip: 2,
  refresh: '30s',
  time: { from: 'now-1h', to: 'now' },
  timepicker: {},
  timezone: '',
  fiscalYearStartMonth: 0,
  liveNow: false,
  weekStart: '',
  annotations: { list: starts === undefined ? [] : [startMarks(starts)] },
  links: [otherDashboards, ...links.map(elsewhere)],
  templating: { list: variables.map(grafanaVariable) },
  panels: place(rows).map((placed, i) => panelOf(placed, i + 1)),
})

const panelOf = (placed: Placed, id: number): Json =>
  'panel' in placed ? grafanaPanel(placed.panel, id, placed.place) : rowHeading(placed.heading, id, placed.place)

const rowHeading = (title: string, id: number, gridPos: Placed['place']): Json => ({
  id,
  type: 'row',
  title,
  collapsed: false,
  gridPos: { h: gridPos.h, w: gridPos.w, x: gridPos.x, y: gridPos.y },
  panels: [],
})

const otherDashboards: Json = {
  type: 'dashboards',
  title: 'Plimsoll',
  tags: [tag],
  asDropdown: true,
  includeVars: true,
  keepTime: true,
  targetBlank: false,
  icon: 'external link',
  tooltip: '',
  url: '',
}

const elsewhere = ({ title, url }: DataLink): Json => ({
  type: 'link',
  title,
  url,
  icon: 'external link',
  targetBlank: false,
  tooltip: '',
  tags: [],
  asDropdown: false,
  includeVars: false,
  keepTime: false,
})

const startMarks = (starts: string): Json => ({
  name: 'Process starts',
  datasource: { type: 'prometheus', uid: '${datasource}' },
  enable: true,
  hide: false,
  iconColor: colours.limit,
  // The value of the series is when it happened, in milliseconds.
  expr: `${starts} * 1000`,
  useValueForTime: true,
  titleFormat: 'Started: {{instance}}',
  textFormat: 'worker {{worker}}',
})
