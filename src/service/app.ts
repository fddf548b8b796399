import type { Logger } from 'pino'
import { createAdmission } from './admission/admission.ts'
import { AdmissionMeter } from './admission/meter.ts'
import { createRateLimit } from './admission/rate-limit.ts'
import type { Faults } from './faults/faults.ts'
import { LeanKoa, type ServiceMiddleware } from './http/lean-koa.ts'
import { answerProblem } from './http/problem.ts'
import { Api } from './http/api.ts'
import { Deadlines } from './http/deadlines.ts'
import { dispatch, routeFinder, unmatched } from './http/router.ts'
import { routes } from './routes/index.ts'
import type { RouteDeps } from './routes/route.ts'
import { admissionMetrics, rateLimitMetrics } from './telemetry/parts.ts'
import type { Telemetry } from './telemetry/telemetry.ts'
import type { Valkey } from './valkey.ts'

export type AppDeps = RouteDeps & {
  /** Undefined where none is configured: what replicas share then lives in each of them. */
  readonly valkey?: Valkey | undefined
  /** Undefined: the application has none. */
  readonly faults?: Faults
  readonly log?: Logger
  /** Undefined: nothing is told of requests but what fails. */
  readonly telemetry?: Telemetry | undefined
}

/** Makes the service's Koa application, ready to answer through `app.callback()`. */
export const createApp = (deps: AppDeps): LeanKoa => {
  const { http } = deps.config
  const { telemetry } = deps
  const meter = telemetry === undefined ? undefined : new AdmissionMeter()
  const headers = ['Server', 'plimsoll', 'Plimsoll-Instance', deps.identity.name]
  const deadlines = new Deadlines({ ...deps.config.deadline, clock: deps.clock })
  const admission = createAdmission(deps.config.admission, { clock: deps.clock, meter })
  const rateLimit = createRateLimit(deps.config.rateLimit, {
    ...deps,
    valkey: deps.valkey,
    onEvent: logUncounted(deps.log),
  })
  const before = [rateLimit?.middleware, admission?.middleware, deps.faults?.middleware].filter(
    (part) => part !== undefined,
  )
  const app = assemble({ headers, replies: http.replies, deadlines }, routes, deps, before)
  app.observer = telemetry?.requests
  if (admission !== undefined && meter !== undefined) telemetry?.add(admissionMetrics(admission, meter))
  if (rateLimit !== undefined) telemetry?.add(rateLimitMetrics(rateLimit))
  return app
}

const logUncounted = (log: Logger | undefined) => (event: 'uncounted' | 'counted', err?: unknown) =>
  event === 'counted' ? log?.info('requests are counted again') : log?.warn({ err }, 'requests cannot be counted')

/** Makes an application of some routes: one for the service, one for its admin port. */
export const assemble = <Deps>(
  options: ConstructorParameters<typeof LeanKoa>[0],
  routes: readonly ((api: Api, deps: Deps) => void)[],
  deps: Deps,
  before: readonly ServiceMiddleware[] = [],
): LeanKoa => {
  const api = new Api()
  for (const route of routes) route(api, deps)
  const app = new LeanKoa(options)
  app.context.onerror = answerProblem
  app.findRoute = routeFinder(api.router)
  app.use(nested(before, dispatch(api.router)))
  app.use(unmatched(api.router))
  return app
}

/**
 * Puts middleware in front of a handler without what koa-compose does for each: it guards against those who call `next`
 * twice, which these do not, and that takes as long as all that they have to do.
 */
const nested = (before: readonly ServiceMiddleware[], handler: ServiceMiddleware): ServiceMiddleware =>
  before.reduceRight<ServiceMiddleware>(
    (inner, outer) => (ctx, next) => outer(ctx, () => inner(ctx, next) as Promise<unknown>),
    handler,
  )
