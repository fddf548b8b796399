import { grafanaDashboard } from './dashboards/dashboard.ts'
import { dashboards } from './dashboards/index.ts'
import type { ObservabilityOptions } from './options.ts'
import { provisioningFiles } from './provisioning.ts'
import { ruleFiles } from './rules/index.ts'
import { scalingFiles } from './scaling/index.ts'

/** Everything that users load into Grafana, Prometheus and Kubernetes, by path. The same options give the same bytes. */
export const observabilityFiles = (options: ObservabilityOptions): Readonly<Record<string, string>> => ({
  ...within('dashboards', dashboardFiles(options)),
  ...within('rules', ruleFiles(options)),
  ...within('scaling', scalingFiles(options)),
  ...within('provisioning', provisioningFiles(options)),
})

const dashboardFiles = (options: ObservabilityOptions): Readonly<Record<string, string>> =>
  Object.fromEntries(
    Object.entries(dashboards(options)).map(([file, dashboard]) => [
      file,
      `${JSON.stringify(grafanaDashboard(dashboard), null, 2)}\n`,
    ]),
  )

const within = (folder: string, files: Readonly<Record<string, string>>): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(files).map(([file, text]) => [`${folder}/${file}`, text]))
