import type { Api } from '../http/api.ts'
import { drainRoute, type DrainRouteDeps } from './drain.ts'
import { faultRoutes, type FaultRouteDeps } from './faults.ts'

export type ControlDeps = FaultRouteDeps & DrainRouteDeps

/** What can be done to a replica on its admin port, beside asking how it is. */
export const controlRoutes = (api: Api, deps: ControlDeps): void => {
  faultRoutes(api, deps)
  drainRoute(api, deps)
}
