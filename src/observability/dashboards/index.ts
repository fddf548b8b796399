import type { ObservabilityOptions } from '../options.ts'
import type { Dashboard } from './dashboard.ts'
import { fleetDashboard } from './fleet.ts'
import { labDashboard } from './lab.ts'
import { saturationDashboard } from './saturation.ts'
import { serviceDashboard } from './service.ts'

/** All dashboards by the name of their file. */
export const dashboards = (options: ObservabilityOptions): Readonly<Record<string, Dashboard>> => ({
  'service.json': serviceDashboard(options),
  'saturation.json': saturationDashboard(options),
  'fleet.json': fleetDashboard(options),
  'lab.json': labDashboard(options),
})
