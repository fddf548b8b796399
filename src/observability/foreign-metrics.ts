/**
 * The metrics of others that dashboards, rules and scaling use, with the labels that they have there. `up` is
 * Prometheus' own; `kube_...` come from kube-state-metrics 2 (docs/metrics in its repository). Whatever shows them works
 * without them, too: who runs no Kubernetes sees those panels empty.
 */
export const foreignMetrics = {
  up: ['job', 'instance'],
  kube_horizontalpodautoscaler_spec_min_replicas: ['namespace', 'horizontalpodautoscaler'],
  kube_horizontalpodautoscaler_spec_max_replicas: ['namespace', 'horizontalpodautoscaler'],
  kube_horizontalpodautoscaler_status_current_replicas: ['namespace', 'horizontalpodautoscaler'],
  kube_horizontalpodautoscaler_status_desired_replicas: ['namespace', 'horizontalpodautoscaler'],
  kube_horizontalpodautoscaler_status_condition: ['namespace', 'horizontalpodautoscaler', 'condition', 'status'],
  kube_horizontalpodautoscaler_spec_target_metric: [
    'namespace',
    'horizontalpodautoscaler',
    'metric_name',
    'metric_target_type',
  ],
  kube_horizontalpodautoscaler_status_target_metric: [
    'namespace',
    'horizontalpodautoscaler',
    'metric_name',
    'metric_target_type',
  ],
  kube_deployment_spec_replicas: ['namespace', 'deployment'],
  kube_deployment_status_replicas: ['namespace', 'deployment'],
  kube_deployment_status_replicas_ready: ['namespace', 'deployment'],
  kube_deployment_status_replicas_available: ['namespace', 'deployment'],
  kube_deployment_status_replicas_unavailable: ['namespace', 'deployment'],
  kube_pod_container_status_restarts_total: ['namespace', 'pod', 'container'],
} as const satisfies Readonly<Record<string, readonly string[]>>

export type ForeignMetricName = keyof typeof foreignMetrics
