import { requestBounds, unmatchedRoute } from '../../contract/metrics.ts'
import { problems, type ProblemCode } from '../../contract/problems.ts'
import { Buckets, Level, type Sample } from '../../kit/metrics.ts'
import type { Trace } from '../../kit/trace.ts'
import type { Clock } from '../../kit/timers.ts'
import type { RequestObserver, ServiceContext } from '../http/lean-koa.ts'
import { Allowance } from './allowance.ts'
import type { Collected } from './collect.ts'
import type { Sampler } from './sampler.ts'

/** Why a request is told of on its own, in traces and logs; of all others only numbers are kept. */
export type Reason = 'error' | 'slow' | 'sampled'

/** A request that is told of. */
export type Told = {
  readonly reason: Reason
  readonly method: string
  /** The template of its route, or `unmatched`. */
  readonly route: string
  readonly status: number
  readonly tookMs: number
  readonly problem: ProblemCode | undefined
  /** What was thrown; only where that was not meant to be an answer. */
  readonly failure: unknown
  /** What its problem document names it; undefined where it got none. */
  readonly requestId: string | undefined
  /** Undefined where there is no tracing. */
  readonly trace: Trace | undefined
}

export type RequestTelemetryOptions = {
  readonly clock: Clock
  readonly sloMs: number
  /** A request that took longer is told of. */
  readonly slowMs: number
  /** Undefined: no traces. */
  readonly sampler: Sampler | undefined
  readonly tell: (request: Told) => void
  /** Lines that the log could not write so far; default: none. */
  readonly linesDropped?: (() => number) | undefined
}

/** Errors of a service that is broken are many and alike; refusals are made to cost little, and so is the news of them. */
const otherErrors = { perSecond: 500, burst: 2_000 }
const refusals = { perSecond: 10, burst: 100 }

/** What is measured of requests. Its two methods are called for each and cost about a microsecond together. */
export class RequestTelemetry implements RequestObserver {
  readonly #options: RequestTelemetryOptions
  readonly #clock: Clock
  readonly #sampler: Sampler | undefined
  readonly #slowMs: number
  readonly #bounds: readonly number[]
  readonly #active = new Level()
  /** By route, method and class of status (index 1 for 1xx to 5 for 5xx). */
  readonly #durations = new Map<string, Map<string, (Buckets | undefined)[]>>()
  readonly #problems = new Map<ProblemCode, number>()
  readonly #errors = new Allowance(otherErrors.perSecond, otherErrors.burst)
  readonly #refusals = new Allowance(refusals.perSecond, refusals.burst)
  #untold = 0

  constructor(options: RequestTelemetryOptions) {
    this.#options = options
    this.#clock = options.clock
    this.#sampler = options.sampler
    this.#slowMs = options.slowMs
    this.#bounds = requestBounds(options.sloMs)
  }

  began(ctx: ServiceContext): void {
    const nowMs = this.#clock.now()
    ctx.arrivedAtMs = ctx.begunAtMs = nowMs
    this.#active.add(nowMs)
    if (this.#sampler === undefined) return
    ctx.trace = this.#sampler.sample(ctx.req, nowMs)
  }

  ended(ctx: ServiceContext): void {
    ctx.ended = true
    const nowMs = this.#clock.now()
    const tookMs = nowMs - ctx.arrivedAtMs
    this.#active.remove(nowMs)
    const { problem } = ctx
    const status = problem === undefined ? ctx.res.statusCode : problems[problem].status
    if (problem !== undefined) this.refused(problem)
    const method = methodOf(ctx)
    const route = routeOf(ctx)
    const durations = this.#durationsOf(route, method, status)
    durations.observe(tookMs / 1_000)
    const sampled = ctx.trace !== undefined && ctx.trace.sampled
    if (!sampled && status < 500 && tookMs <= this.#slowMs) return
    const reason = status >= 500 ? 'error' : tookMs > this.#slowMs ? 'slow' : 'sampled'
    if (!this.#mayTell(sampled, problem, nowMs)) return void this.#untold++
    const trace = this.#complete(ctx, nowMs)
    if (trace !== undefined) durations.exemplify(tookMs / 1_000, exemplarOf(trace), wallSeconds(nowMs))
    const { failure, requestId } = ctx
    const told = { reason, method, route, status, tookMs, problem, failure, requestId, trace } as const
    if (trace !== undefined) describe(told, ctx, trace)
    this.#options.tell(told)
  }

  refused(problem: ProblemCode): void {
    this.#problems.set(problem, (this.#problems.get(problem) ?? 0) + 1)
  }

  /** The trace that others shall be told to join; one that is not sampled has ids, too. Undefined without tracing. */
  traceOf(ctx: ServiceContext): Trace | undefined {
    if (this.#sampler === undefined) return undefined
    return (ctx.trace ??= this.#sampler.unsampled(ctx.req, ctx.arrivedAtMs))
  }

  collect(nowMs: number): Collected {
    return {
      http_server_request_duration_seconds: this.#durationSamples(),
      http_server_active_requests: [{ labels: {}, value: this.#active.value }],
      plimsoll_requests_seconds_total: [{ labels: {}, value: this.#active.seconds(nowMs) }],
      plimsoll_problems_total: Array.from(this.#problems, ([code, value]) => ({ labels: { code }, value })),
      plimsoll_log_lines_dropped_total: [{ labels: {}, value: this.#linesDropped() }],
    }
  }

  #linesDropped(): number {
    return this.#untold + (this.#options.linesDropped?.() ?? 0)
  }

  #complete(ctx: ServiceContext, nowMs: number): Trace | undefined {
    const trace = this.traceOf(ctx)
    if (trace === undefined) return undefined
    trace.sampled = true
    trace.root.end(undefined, nowMs)
    return trace
  }

  #mayTell(sampled: boolean, problem: ProblemCode | undefined, nowMs: number): boolean {
    if (problem === 'overloaded' || problem === 'rate-limited') return this.#refusals.take(nowMs)
    return sampled || this.#errors.take(nowMs)
  }

  #durationsOf(route: string, method: string, status: number): Buckets {
    let byMethod = this.#durations.get(route)
    if (byMethod === undefined) this.#durations.set(route, (byMethod = new Map()))
    let byClass = byMethod.get(method)
    if (byClass === undefined) byMethod.set(method, (byClass = this.#classesOf(route)))
    return (byClass[Math.floor(status / 100)] ??= new Buckets(this.#bounds))
  }

  /** Failures are there with 0 from the first request on: `rate()` does not see a series begin, so the first would be lost. */
  #classesOf(route: string): (Buckets | undefined)[] {
    const classes: (Buckets | undefined)[] = [undefined, undefined, undefined, undefined, undefined, undefined]
    if (route !== unmatchedRoute) classes[5] = new Buckets(this.#bounds)
    return classes
  }

  #durationSamples(): Sample[] {
    return Array.from(this.#durations, ([route, byMethod]) =>
      Array.from(byMethod, ([method, byClass]) =>
        byClass.flatMap((buckets, status) => {
          const labels = {
            http_request_method: method,
            http_route: route,
            http_response_status_class: `${status}xx`,
          }
          return buckets?.samples('http_server_request_duration_seconds', labels) ?? []
        }),
      ),
    ).flat(2)
  }
}

/** The semantic conventions know nine methods, and have this word for all that a client can make up. */
const otherMethod = '_OTHER'
const knownMethods = new Set(['CONNECT', 'DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT', 'QUERY', 'TRACE'])

const methodOf = ({ req: { method } }: ServiceContext): string =>
  method === 'GET' || knownMethods.has(method!) ? method! : otherMethod

const routeOf = (ctx: ServiceContext): string => {
  const route = ctx._matchedRoute
  if (typeof route === 'string') return route
  // Refused before it came to its route.
  return (ctx.problem === undefined ? undefined : ctx.app.findRoute?.(ctx)) ?? unmatchedRoute
}

const exemplarOf = (trace: Trace): Readonly<Record<string, string>> => ({
  trace_id: trace.id,
  span_id: trace.root.id,
})

const wallSeconds = (nowMs: number): number => Math.round(performance.timeOrigin + nowMs) / 1_000

/**
 * Names the root by the semantic conventions of HTTP. Nothing that a client sends is told but the path of a route that
 * exists: headers and queries may hold secrets. https://opentelemetry.io/docs/specs/semconv/http/http-spans/
 */
const describe = ({ reason, method, route, status, problem }: Told, ctx: ServiceContext, { root }: Trace): void => {
  const known = route !== unmatchedRoute
  const verb = method === otherMethod ? 'HTTP' : method
  root.name = known ? `${verb} ${route}` : verb
  root
    .set('http.request.method', method)
    .set('http.response.status_code', status)
    .set('url.scheme', 'http')
    .set('network.protocol.version', ctx.req.httpVersion)
    .set('plimsoll.recorded', reason)
  if (known) root.set('http.route', route).set('url.path', pathOf(shortened(ctx.originalUrl)))
  if (problem !== undefined) root.set('plimsoll.problem', problem)
  if (status >= 500) root.errorType = problem ?? String(status)
}

const longestTarget = 1_024

/** Of a target that is very long the beginning, copied: a part of a string keeps all of it, and traces may wait. */
const shortened = (target: string): string =>
  target.length <= longestTarget ? target : Buffer.from(target.slice(0, longestTarget), 'latin1').toString('latin1')

const pathOf = (target: string): string => {
  const end = target.search(/[?#]/)
  const path = end === -1 ? target : target.slice(0, end)
  // In absolute form it begins with a host, and maybe a password, of the client's choice.
  return path.startsWith('/') ? path : path.replace(/^[^/]*\/\/[^/]*/, '')
}
