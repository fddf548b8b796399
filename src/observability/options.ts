/** What dashboards, rules and scaling are made for. */
export type ObservabilityOptions = {
  /** The value of the label `job` that Prometheus gives the service's series. */
  readonly job: string
  /** The Deployment that is scaled, and the name that its HPA and its dashboards' first choice have. */
  readonly deployment: string
  /** As the service's SLO_MS: the time in which a request should be answered. */
  readonly sloMs: number
  /** The share of requests that must not end in a server error: 0.999. */
  readonly sloObjective: number
  /** The share of requests that must be answered within `sloMs`: 0.99. */
  readonly latencyObjective: number
  /** Where the runbook is; `#` and an alert's name are added. */
  readonly runbookUrl: string
  /** The kind of data source that traces are looked up in. */
  readonly traces: TraceStore
}

export const traceStores = ['tempo', 'jaeger'] as const
export type TraceStore = (typeof traceStores)[number]

export const defaultOptions: ObservabilityOptions = {
  job: 'plimsoll',
  deployment: 'plimsoll',
  sloMs: 250,
  sloObjective: 0.999,
  latencyObjective: 0.99,
  runbookUrl: 'docs/runbook.md',
  traces: 'tempo',
}
