import Router from '@koa/router'
import { HttpFailure } from './problem.ts'
import type { ServiceContext, ServiceMiddleware } from './lean-koa.ts'
import { Failure } from '../../kit/errors.ts'
import type { ProblemCode } from '../../contract/problems.ts'

export type Handler = (ctx: ServiceContext) => void | Promise<void>
type Methods = Record<'get' | 'post' | 'put' | 'delete', (template: string, handler: Handler) => unknown>

/** A router of @koa/router whose handlers get a `ServiceContext` and end the list of middleware. */
export type ServiceRouter = Pick<Router, 'match' | 'methods' | 'routes' | 'stack' | 'use'> & Methods

/** Makes an empty router. */
export const createRouter = (): ServiceRouter => new Router()

type StaticRoute = { readonly template: string; readonly handler: ServiceMiddleware }

/**
 * Dispatches with one map look-up where a route's path is a plain string that no other route of the router matches, and
 * leaves every other request to @koa/router, which tests each layer in turn: parameters, other spellings of a path
 * (`/JSON`, `/json/`), other methods.
 */
export const dispatch = (router: ServiceRouter): ServiceMiddleware => {
  const byTarget = staticRoutes(router)
  const routed = router.routes() as unknown as ServiceMiddleware
  return (ctx, next) => {
    const route = byTarget.get(`${ctx.req.method!} ${pathOf(ctx.req.url!)}`)
    if (route === undefined) {
      requireReadable(ctx)
      return routed(ctx, next) as Promise<void>
    }
    ctx._matchedRoute = route.template
    return route.handler(ctx, next) as Promise<void>
  }
}

/** Finds the template of the route that a request is for, without going there. */
export const routeFinder = (router: ServiceRouter): ((ctx: ServiceContext) => string | undefined) => {
  let byTarget: ReadonlyMap<string, StaticRoute> | undefined
  return (ctx) => {
    byTarget ??= staticRoutes(router)
    const method = ctx.req.method!
    const path = pathOf(ctx.req.url!)
    const plain = byTarget.get(`${method} ${path}`)?.template
    if (plain !== undefined) return plain
    const template = router.match(path, method).pathAndMethod.find(({ methods }) => methods.length > 0)?.path
    return typeof template === 'string' ? template : undefined
  }
}

/** Koa reads a target in absolute form (`GET http://[ HTTP/1.1`) with a parser that throws. */
const requireReadable = (ctx: ServiceContext): void => {
  try {
    void ctx.path
  } catch {
    throw new Failure<ProblemCode>('malformed-request', { detail: 'the request target cannot be read' })
  }
}

/** Ends the list of middleware: nothing matched, so 404, 405 with `Allow`, 501, or the answer to OPTIONS. */
export const unmatched = (router: ServiceRouter): ServiceMiddleware => {
  const known = new Set(router.methods)
  return (ctx) => {
    const allowed = allowedMethods(router, ctx)
    if (allowed.length === 0) throw new Failure<ProblemCode>('not-found', { detail: 'no route matches the path' })
    const allow = { Allow: allowed.join(', ') }
    if (ctx.method === 'OPTIONS') return answerOptions(ctx, allow.Allow)
    const code = known.has(ctx.method) ? 'method-not-allowed' : 'not-implemented'
    throw new HttpFailure(code, allow, `${ctx.method} is not one of ${allow.Allow}`)
  }
}

const answerOptions = (ctx: ServiceContext, allow: string): void => {
  ctx.status = 204
  ctx.set('Allow', allow)
}

const allowedMethods = (router: ServiceRouter, ctx: ServiceContext): string[] => {
  const methods = router.match(ctx.path, ctx.method).path.flatMap((layer) => layer.methods)
  return methods.length === 0 ? [] : [...new Set([...methods, 'OPTIONS'])].sort()
}

/** Made only of characters that stand for themselves, both in a template and in a request target; no part is empty. */
const plainPath = /^(?!.*\/\/)\/[\w.~/-]*$/

const staticRoutes = ({ stack }: ServiceRouter): ReadonlyMap<string, StaticRoute> => {
  const plain = stack.filter(isPlain)
  const others = stack.filter((layer) => !isPlain(layer))
  const spelled = Map.groupBy(plain, ({ path }) => otherwiseSpelled(path as string))
  const routes = new Map<string, StaticRoute>()
  for (const layer of plain) {
    const template = layer.path as string
    if (layer.stack.length !== 1) continue
    const rivals = [...spelled.get(otherwiseSpelled(template))!, ...others.filter((other) => other.match(template))]
    for (const method of layer.methods) {
      if (rivals.some((rival) => rival !== layer && takes(rival, method))) continue
      routes.set(`${method} ${template}`, { template, handler: layer.stack[0] as unknown as ServiceMiddleware })
    }
  }
  return routes
}

type Layer = ServiceRouter['stack'][number]

/** A middleware, which has no methods, is there for whatever begins with its path. */
const isPlain = ({ path, methods }: Layer): boolean =>
  typeof path === 'string' && plainPath.test(path) && methods.length > 0

const takes = ({ methods }: Layer, method: string): boolean => methods.length === 0 || methods.includes(method)

/** Paths that the router takes for one another: the case of letters and a slash at the end do not count. */
const otherwiseSpelled = (path: string): string => path.toLowerCase().replace(/\/$/, '')

const pathOf = (url: string): string => {
  const query = url.indexOf('?')
  return query === -1 ? url : url.slice(0, query)
}
