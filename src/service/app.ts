import { LeanKoa } from './http/lean-koa.ts'
import { answerProblem } from './http/problem.ts'
import { createRouter, dispatch, type ServiceRouter, unmatched } from './http/router.ts'
import { routes } from './routes/index.ts'
import type { RouteDeps } from './routes/route.ts'

/** Makes the service's Koa application, ready to answer through `app.callback()`. */
export const createApp = (deps: RouteDeps): LeanKoa => {
  const { http } = deps.config
  const headers = ['Server', 'plimsoll', 'Plimsoll-Instance', deps.identity.name]
  return assemble({ headers, replies: http.replies }, routes, deps)
}

/** Makes an application of some routes: one for the service, one for its admin port. */
export const assemble = <Deps>(
  options: ConstructorParameters<typeof LeanKoa>[0],
  routes: readonly ((router: ServiceRouter, deps: Deps) => void)[],
  deps: Deps,
): LeanKoa => {
  const router = createRouter()
  for (const route of routes) route(router, deps)
  const app = new LeanKoa(options)
  app.context.onerror = answerProblem
  app.use(dispatch(router))
  app.use(unmatched(router))
  return app
}
