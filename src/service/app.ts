import { LeanKoa } from './http/lean-koa.ts'
import { answerProblem } from './http/problem.ts'
import { Api } from './http/api.ts'
import { Deadlines } from './http/deadlines.ts'
import { dispatch, unmatched } from './http/router.ts'
import { routes } from './routes/index.ts'
import type { RouteDeps } from './routes/route.ts'

/** Makes the service's Koa application, ready to answer through `app.callback()`. */
export const createApp = (deps: RouteDeps): LeanKoa => {
  const { http } = deps.config
  const headers = ['Server', 'plimsoll', 'Plimsoll-Instance', deps.identity.name]
  const deadlines = new Deadlines({ ...deps.config.deadline, clock: deps.clock })
  return assemble({ headers, replies: http.replies, deadlines }, routes, deps)
}

/** Makes an application of some routes: one for the service, one for its admin port. */
export const assemble = <Deps>(
  options: ConstructorParameters<typeof LeanKoa>[0],
  routes: readonly ((api: Api, deps: Deps) => void)[],
  deps: Deps,
): LeanKoa => {
  const api = new Api()
  for (const route of routes) route(api, deps)
  const app = new LeanKoa(options)
  app.context.onerror = answerProblem
  app.use(dispatch(api.router))
  app.use(unmatched(api.router))
  return app
}
