import type { ObservabilityOptions } from '../options.ts'
import { adapterFile, adapterQuery } from './adapter.ts'
import { hpaFiles } from './hpa.ts'
import { kedaFiles, kedaQueries } from './keda.ts'
import { scalingMetrics } from './targets.ts'

/** What Kubernetes needs to scale the service, by file name. */
export const scalingFiles = (options: ObservabilityOptions): Readonly<Record<string, string>> => ({
  ...hpaFiles(options),
  ...kedaFiles(options),
  'prometheus-adapter-values.yaml': adapterFile(),
})

/** The expressions in those files by what they are for, with the adapter's templates filled in. */
export const scalingQueries = (options: ObservabilityOptions): Readonly<Record<string, string>> => ({
  ...Object.fromEntries(Object.entries(kedaQueries(options)).map(([name, expr]) => [`keda ${name}`, expr])),
  ...Object.fromEntries(
    Object.entries(scalingMetrics).map(([name, metric]) => [`adapter ${name}`, filled(adapterQuery(metric), options)]),
  ),
})

const filled = (template: string, { job }: ObservabilityOptions): string =>
  template.replaceAll('<<.LabelMatchers>>', `job="${job}"`).replaceAll('<<.GroupBy>>', 'instance')
