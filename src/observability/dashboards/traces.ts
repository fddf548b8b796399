import type { TraceStore } from '../options.ts'
import type { DataLink } from './panel.ts'

/** Variables of Grafana, which it fills in before it follows a link and which must not be escaped. */
const variable = /\$\{[^}]*\}/g

/** A link to all traces, in the data source that is chosen. */
export const allTraces = (traces: TraceStore): DataLink => linkTo('Traces', traces, everything[traces])

/** A link from a series that has the label `http_route` to the traces of that route, in the data source that is chosen. */
export const tracesOfRoute = (traces: TraceStore): DataLink => linkTo('Traces of this route', traces, searches[traces])

const route = '${__field.labels.http_route}'

const searches = {
  tempo: { queryType: 'traceql', query: `{ span.http.route = "${route}" }`, limit: 20 },
  jaeger: { queryType: 'search', service: 'plimsoll', tags: `http.route="${route}"`, limit: 20 },
} as const satisfies Record<TraceStore, object>

const everything = {
  tempo: { queryType: 'traceql', query: '{}', limit: 20 },
  jaeger: { queryType: 'search', service: 'plimsoll', limit: 20 },
} as const satisfies Record<TraceStore, object>

const linkTo = (title: string, traces: TraceStore, search: object): DataLink => ({
  title,
  url: exploreUrl({
    traces: {
      datasource: '${traces}',
      queries: [{ refId: 'A', datasource: { type: traces, uid: '${traces}' }, ...search }],
      range: { from: '${__from}', to: '${__to}' },
    },
  }),
})

const exploreUrl = (panes: object): string => `/explore?schemaVersion=1&panes=${escape(JSON.stringify(panes))}`

const escape = (text: string): string => {
  const variables = text.match(variable) ?? []
  return text
    .split(variable)
    .map((between, i) => encodeURIComponent(between) + (variables[i] ?? ''))
    .join('')
}
