import type { ObservabilityOptions, TraceStore } from './options.ts'
import { yamlFile } from './yaml-file.ts'

const metricsUid = 'plimsoll-metrics'
const tracesUid = 'plimsoll-traces'
const traceUrls = { tempo: 'http://tempo:3200', jaeger: 'http://jaeger:16686' } as const satisfies Record<
  TraceStore,
  string
>

/** What Grafana and Prometheus need to read at their start, by file name. */
export const provisioningFiles = (options: ObservabilityOptions): Readonly<Record<string, string>> => ({
  'grafana-datasources.yaml': dataSourcesFile(options),
  'grafana-dashboards.yaml': dashboardProviderFile(),
  'prometheus.yaml': prometheusFile(options),
})

const dataSourcesFile = ({ traces }: ObservabilityOptions): string =>
  yamlFile(
    [
      'Data sources of Grafana: /etc/grafana/provisioning/datasources/. Set the URLs.',
      'An exemplar of Prometheus leads to its trace by exemplarTraceIdDestinations: the label that has the trace id, and where',
      'traces are. To have the link with a data source of your own, give it the same entry.',
    ],
    {
      apiVersion: 1,
      datasources: [
        {
          name: 'Prometheus (Plimsoll)',
          uid: metricsUid,
          type: 'prometheus',
          access: 'proxy',
          url: 'http://prometheus:9090',
          jsonData: {
            httpMethod: 'POST',
            timeInterval: '15s',
            exemplarTraceIdDestinations: [{ name: 'trace_id', datasourceUid: tracesUid }],
          },
        },
        {
          name: `Traces (Plimsoll)`,
          uid: tracesUid,
          type: traces,
          access: 'proxy',
          url: traceUrls[traces],
        },
      ],
    },
  )

const dashboardProviderFile = (): string =>
  yamlFile(
    [
      'Where Grafana reads dashboards from: /etc/grafana/provisioning/dashboards/.',
      'Copy dashboards/*.json to the path below.',
    ],
    {
      apiVersion: 1,
      providers: [
        {
          name: 'plimsoll',
          folder: 'Plimsoll',
          type: 'file',
          allowUiUpdates: false,
          options: { path: '/var/lib/grafana/dashboards/plimsoll' },
        },
      ],
    },
  )

const fromMeta = (label: string, meta: string): object => ({ source_labels: [meta], target_label: label })

const prometheusFile = ({ job, deployment }: ObservabilityOptions): string =>
  yamlFile(
    [
      'Configuration of a Prometheus without an operator, in a cluster. Exemplars are kept with --enable-feature=exemplar-storage.',
      'rule_files is looked for from where this file is: as it was written, in the folder beside its own.',
      'The labels `namespace` and `pod` are what prometheus-adapter tells pods apart by.',
      'Outside a cluster, static_configs with the admin ports (9464) of the replicas take the place of kubernetes_sd_configs.',
    ],
    {
      global: { scrape_interval: '15s', evaluation_interval: '15s' },
      rule_files: ['../rules/*.yaml'],
      scrape_configs: [
        {
          job_name: job,
          kubernetes_sd_configs: [{ role: 'pod' }],
          relabel_configs: [
            {
              source_labels: ['__meta_kubernetes_pod_label_app_kubernetes_io_name'],
              regex: deployment,
              action: 'keep',
            },
            { source_labels: ['__meta_kubernetes_pod_container_port_number'], regex: '9464', action: 'keep' },
            // An evicted pod stays in the list and would count as a replica that is down.
            { source_labels: ['__meta_kubernetes_pod_phase'], regex: 'Succeeded|Failed', action: 'drop' },
            fromMeta('namespace', '__meta_kubernetes_namespace'),
            fromMeta('pod', '__meta_kubernetes_pod_name'),
          ],
        },
      ],
    },
  )
