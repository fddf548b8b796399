import type { Api } from '../http/api.ts'
import { drainRoute, type DrainRouteDeps } from './drain.ts'
import { faultRoutes, type FaultRouteDeps } from './faults.ts'
import { metricsRoute, type MetricsSource } from './metrics.ts'

export type ControlDeps = FaultRouteDeps & DrainRouteDeps & { readonly metrics: MetricsSource }

/** What can be done to a replica on its admin port, and asked beside how it is. */
export const controlRoutes = (api: Api, deps: ControlDeps): void => {
  metricsRoute(api, deps.metrics)
  faultRoutes(api, deps)
  drainRoute(api, deps)
}
