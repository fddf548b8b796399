import type { ServiceCache } from '../service-cache.ts'
import type { Config } from '../config.ts'
import type { Database } from '../db/database.ts'
import type { Api } from '../http/api.ts'
import type { Identity } from '../identity.ts'
import type { Clock } from '../../kit/timers.ts'
import type { Uploads } from '../uploads/uploads.ts'
import type { Upstreams } from '../upstreams/upstreams.ts'
import type { Threads } from '../work/threads/pool.ts'

/** What the routes work with. */
export type RouteDeps = {
  readonly config: Config
  readonly identity: Identity
  /** Undefined where none is configured. */
  readonly database: Database | undefined
  readonly cache: ServiceCache
  readonly threads: Threads
  readonly upstreams: Upstreams
  readonly uploads: Uploads
  /** Monotonic milliseconds since the process started, and timers. */
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
}

/** Adds one or a few routes that belong together. */
export type Route = (api: Api, deps: RouteDeps) => void
