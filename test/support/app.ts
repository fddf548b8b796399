import pino from 'pino'
import { processClock } from '../../src/kit/timers.ts'
import { createApp } from '../../src/service/app.ts'
import type { Config } from '../../src/service/config.ts'
import type { LeanKoa } from '../../src/service/http/lean-koa.ts'
import { identify } from '../../src/service/identity.ts'
import type { RouteDeps } from '../../src/service/routes/route.ts'
import { ServiceCache } from '../../src/service/service-cache.ts'
import { createUploads } from '../../src/service/uploads/uploads.ts'
import { createUpstreams } from '../../src/service/upstreams/upstreams.ts'

const random = (): number => 0

/** The service's application without a service around it, and without a database. */
export const testApp = (config: Config, parts: Pick<RouteDeps, 'threads' | 'clock'>): LeanKoa => {
  const log = pino({ level: 'silent' })
  return createApp({
    config,
    identity: identify(config, 1),
    database: undefined,
    cache: new ServiceCache({ config, clock: processClock, random, log, valkey: undefined }),
    uploads: createUploads(config.uploads, { clock: processClock }),
    upstreams: createUpstreams(config.upstreams, {
      clock: processClock,
      random,
      deadlineHeader: config.deadline.header,
      ownOrigin: () => '',
    }),
    random,
    ...parts,
  })
}
