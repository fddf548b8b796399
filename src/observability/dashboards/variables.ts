import { type MetricName, type Scope, select } from '../promql.ts'
import type { TraceStore } from '../options.ts'

/** What the user of a dashboard chooses at its top. */
export type Variable = DataSourceVariable | LabelVariable

type DataSourceVariable = {
  readonly kind: 'data source'
  readonly name: string
  readonly label: string
  readonly plugin: string
}

/** One of the values, or some of them, that a label has on a metric's series. */
export type LabelVariable = {
  readonly kind: 'label'
  readonly name: string
  readonly label: string
  readonly of: string
  readonly on: MetricName
  readonly scope?: Scope
  readonly several?: true
  /** Chosen at first, if it is there. */
  readonly first?: string
}

type Json = Readonly<Record<string, unknown>>

/** The series that a variable's values are read from. */
export const seriesOf = ({ on, scope = '' }: LabelVariable): string => select(on, scope)

export const dataSources = (traces: TraceStore): readonly Variable[] => [
  { kind: 'data source', name: 'datasource', label: 'Metrics', plugin: 'prometheus' },
  { kind: 'data source', name: 'traces', label: 'Traces', plugin: traces },
]

/** The job, and those of its instances that are looked at; told by a metric that each of them has. */
export const jobAndInstance = (on: MetricName, job?: string): readonly LabelVariable[] => [
  { kind: 'label', name: 'job', label: 'Job', of: 'job', on, ...(job === undefined ? {} : { first: job }) },
  { kind: 'label', name: 'instance', label: 'Instance', of: 'instance', on, scope: 'job=~"$job"', several: true },
]

/** The scope that these two variables make. */
export const chosen: Scope = 'job=~"$job",instance=~"$instance"'

/** A variable as Grafana's JSON. */
export const grafanaVariable = (variable: Variable): Json =>
  variable.kind === 'label' ? labelVariable(variable) : dataSourceVariable(variable)

const dataSourceVariable = ({ name, label, plugin }: DataSourceVariable): Json => ({
  type: 'datasource',
  name,
  label,
  query: plugin,
  refresh: 1,
  regex: '',
  multi: false,
  includeAll: false,
  hide: 0,
  options: [],
  skipUrlSync: false,
})

const onTimeRangeChange = 2
const alphabetically = 1

const labelVariable = (variable: LabelVariable): Json => {
  const { name, label, of, several = false, first } = variable
  const query = `label_values(${seriesOf(variable)}, ${of})`
  return {
    type: 'query',
    name,
    label,
    datasource: { type: 'prometheus', uid: '${datasource}' },
    definition: query,
    query: { query, qryType: 1, refId: name },
    refresh: onTimeRangeChange,
    sort: alphabetically,
    regex: '',
    multi: several,
    includeAll: several,
    // An expression then looks at all series, not at a list of those that there were when the page was opened.
    ...(several ? { allValue: '.*', current: { text: ['All'], value: ['$__all'] } } : currentOf(first)),
    hide: 0,
    options: [],
    skipUrlSync: false,
  }
}

const currentOf = (value: string | undefined): Json =>
  value === undefined ? {} : { current: { text: value, value, selected: true } }
