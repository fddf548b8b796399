import type { IncomingMessage, ServerResponse } from 'node:http'
import { types } from 'node:util'
import type { ProblemCode } from '../../contract/problems.ts'
import type { Cancellation } from '../../kit/cancellation.ts'
import type { Trace } from '../../kit/trace.ts'
import type { Deadlines } from './deadlines.ts'
import Koa, { type DefaultState, type Middleware, type ParameterizedContext } from 'koa'

/** What every handler of the service is given: Koa's context and a few fields of ours. */
export type ServiceContext = ParameterizedContext<DefaultState, LeanFields>
export type ServiceMiddleware = Middleware<DefaultState, LeanFields>

/** An answer as ready bytes, written after the last middleware has returned with one `writeHead` and one `end`. */
export type PreparedReply = {
  readonly status: number
  readonly type: string
  readonly body: string | Buffer
  /** More headers, as a flat list of name, value, name, value; each name once. */
  readonly headers: readonly string[]
}

/** What a handler that can stop early has set up; see `cancellation.ts`. */
export type Watch = Cancellation & { end(): void }

/** The leave to work that a request has been given; see `admission/`. */
export type Permit = { release(ctx: ServiceContext): void }

/** Told of each request; see `telemetry/`. */
export type RequestObserver = {
  /** Before the first middleware. */
  began(ctx: ServiceContext): void
  /** When the answer has been handed over whole, or will not be any more. */
  ended(ctx: ServiceContext): void
  /** Something came that is no request, and was told so. */
  refused(problem: ProblemCode): void
  /** What those shall join that are called for this request; undefined where nothing is traced. */
  traceOf(ctx: ServiceContext): Trace | undefined
}

type LeanFields = {
  /** Hands the answer over as ready bytes. To everybody else it is as if status, type and `ctx.body` had been set. */
  reply(status: number, type: string, body: string | Buffer, headers?: readonly string[]): void
  app: LeanKoa
  /** Sent with whatever answers this request, a problem as well: a flat list of name, value; each name once. */
  extraHeaders: readonly string[]
  /** Ended when the handler has ended. */
  cancellation: Watch | undefined
  /** Released when the handler has ended. */
  permit: Permit | undefined
  /** Its answer, where that is ready and not written yet. */
  readonly prepared: PreparedReply | undefined
  /** When its handling began, in ms on the service's clock; 0 until somebody has looked at that. */
  begunAtMs: number
  /**
   * The time, in ms, that the client asked the work to take, or took to send the body: no sign of a load that is too
   * high. Infinity: all of the work goes at the client's own pace.
   */
  requestedMs: number
  /** When it arrived, on the service's clock; 0 where nobody observes requests. */
  arrivedAtMs: number
  /** Its trace, while it is recorded or others have been told its ids. */
  trace: Trace | undefined
  /** What it was answered outside 2xx and 3xx. */
  problem: ProblemCode | undefined
  /** What was thrown and is no answer: the cause of an `internal-error`. */
  failure: unknown
  /** Of the problem document that it was answered with, and of the header `X-Request-Id`. */
  requestId: string | undefined
  /** Whether the observer has been told of its end. */
  ended: boolean
  /** Path parameters of the matched route. */
  params: Readonly<Record<string, string>>
  /** Template of the matched route, as @koa/router names it. */
  _matchedRoute: string | RegExp | undefined
}

type LeanContext = Koa.Context &
  Pick<LeanFields, 'cancellation' | 'extraHeaders' | 'permit' | 'problem'> & { prepared: PreparedReply | undefined }
type Next = (ctx: Koa.Context) => Promise<void>

export type LeanKoaOptions = {
  /** Sent with every answer, as a flat list of name, value, name, value. */
  readonly headers?: readonly string[]
  /** `koa` leaves every answer to Koa's own code, to compare with; `direct` writes prepared replies itself. */
  readonly replies?: 'direct' | 'koa'
  readonly deadlines?: Deadlines
}

/**
 * Koa with the same meaning and less work per request. Two of Koa's methods are changed:
 *
 * - `createContext` makes contexts of one hidden class. `ctx.request`, `ctx.response` and `ctx.state` come to be when
 *   first touched: the usual objects, on the usual prototypes (`app.context`, `app.request`, `app.response`).
 * - `handleRequest` writes a prepared reply itself. Any other answer is left to Koa's own `handleRequest`: every kind
 *   of `ctx.body`, streams and HEAD included.
 *
 * A middleware that touches `ctx.response` after a reply was prepared (reads `ctx.status`, sets a header, replaces
 * `ctx.body`) finds it there as Koa would have it: the reply is unfolded into the response, and Koa answers. Only
 * `ctx.res` itself does not show a prepared reply before it is written.
 *
 * Not done for a prepared reply is Koa's on-finished listener, which reports a socket that fails under a body that is
 * still being written: a prepared one is handed over whole.
 */
export class LeanKoa extends Koa {
  /** Sent with every answer from now on; `server.ts` adds `Connection: close` while draining. */
  standardHeaders: readonly string[]
  /** How long a body may take that is read whole (`readJson`) or not at all. Default: as long as it takes. */
  bodyTimeoutMs: number | undefined = undefined
  /** Default: nobody. */
  observer: RequestObserver | undefined = undefined
  /** The template of the route that a request is for, whether it came to it or not; undefined where there is none. */
  findRoute: ((ctx: ServiceContext) => string | undefined) | undefined = undefined
  /** Those of the requests; undefined where they have none. */
  readonly deadlines: Deadlines | undefined
  readonly #newContext: ContextConstructor

  constructor({ headers = [], replies = 'direct', deadlines }: LeanKoaOptions = {}) {
    super()
    this.deadlines = deadlines
    this.standardHeaders = headers
    this.#newContext = contextConstructor(this, replies)
  }

  override createContext<State = DefaultState>(req: IncomingMessage, res: ServerResponse): ParameterizedContext<State> {
    return new this.#newContext(req, res) as unknown as ParameterizedContext<State>
  }

  // Koa calls it from callback(); its type declarations leave it out.
  async handleRequest(ctx: LeanContext, middleware: Next): Promise<void> {
    ctx.res.statusCode = 404
    this.observer?.began(ctx as unknown as ServiceContext)
    try {
      await middleware(ctx)
      if (ctx.prepared === undefined) await this.#answerAsKoa(ctx)
      else if (ctx.respond !== false) this.#write(ctx, ctx.prepared)
    } catch (error) {
      ctx.prepared = undefined
      ctx.onerror(asError(error))
    }
    ctx.cancellation?.end()
    ctx.permit?.release(ctx as unknown as ServiceContext)
    if (this.observer !== undefined) tellEnd(this.observer, ctx as unknown as ServiceContext)
    if (!ctx.req.complete && this.bodyTimeoutMs !== undefined) cutUnlessComplete(ctx.req, this.bodyTimeoutMs)
  }

  #write(ctx: LeanContext, { status, type, body, headers }: PreparedReply): void {
    const { res, extraHeaders } = ctx
    if (res.destroyed) ctx.problem ??= 'client-closed-request'
    if (res.writableEnded || res.destroyed) return
    const length = typeof body === 'string' ? Buffer.byteLength(body) : body.length
    // One literal: with a list on the way it takes twice the time.
    const all = [
      'Content-Type',
      type,
      ...headers,
      'Content-Length',
      String(length),
      ...extraHeaders,
      ...this.standardHeaders,
    ]
    res.writeHead(status, all)
    res.end(body)
  }

  /** Koa's own ending, for what the middleware left in `ctx.body`. It starts by setting the status to 404. */
  #answerAsKoa(ctx: LeanContext): Promise<void> {
    const { statusCode } = ctx.res
    return koaHandleRequest.call(this, ctx, () => {
      ctx.res.statusCode = statusCode
      this.setStandardHeaders(ctx)
      return Promise.resolve()
    })
  }

  /** Puts the headers of every answer on one that is not a prepared reply. */
  setStandardHeaders({ res, extraHeaders }: Pick<LeanContext, 'res' | 'extraHeaders'>): void {
    if (res.headersSent) return
    const headers = [...extraHeaders, ...this.standardHeaders]
    for (let i = 0; i < headers.length; i += 2) res.setHeader(headers[i]!, headers[i + 1]!)
  }
}

const tellEnd = (observer: RequestObserver, ctx: ServiceContext): void => {
  const { res } = ctx
  if (res.writableEnded || res.closed) observer.ended(ctx)
  // A body that is still being sent.
  else res.once('close', () => observer.ended(ctx))
}

/**
 * Cuts the connection of a request that has its answer, unless the rest of its body comes in time. Nobody reads it, and
 * until it has come the connection cannot serve another request.
 */
const cutUnlessComplete = (req: IncomingMessage, timeoutMs: number): void => {
  const timer = setTimeout(() => {
    if (!req.complete) req.socket.destroy()
  }, timeoutMs).unref()
  req.once('close', () => clearTimeout(timer))
}

type HandleRequest = (this: LeanKoa, ctx: Koa.Context, middleware: Next) => Promise<void>

// Its type declarations leave this method out.
const { handleRequest: koaHandleRequest } = Koa.prototype as unknown as { handleRequest: HandleRequest }

/** Koa takes a thrown null or undefined for no error at all, and then such a request would never be answered. */
const asError = (thrown: unknown): Error =>
  types.isNativeError(thrown) || thrown instanceof Error
    ? thrown
    : new TypeError('thrown, but not an error', { cause: thrown })

/** Answers of these statuses have no body, and no headers that describe one: Koa takes both away. */
const isBodiless = (status: number): boolean => status === 204 || status === 205 || status === 304

type ContextConstructor = new (req: IncomingMessage, res: ServerResponse) => object

const noParams = Object.freeze({})
const noHeaders: readonly string[] = []

/** Makes the class of one application's contexts; behind it stand the application's own prototypes. */
const contextConstructor = (app: Koa, replies: 'direct' | 'koa'): ContextConstructor => {
  class Part {
    readonly app = app
    readonly req: IncomingMessage
    readonly res: ServerResponse
    readonly ctx: LeanContext
    readonly originalUrl: string

    constructor(ctx: LeanContext) {
      this.req = ctx.req
      this.res = ctx.res
      this.ctx = ctx
      this.originalUrl = ctx.originalUrl
    }
  }

  class LeanRequest extends Part {
    get response(): object {
      return this.ctx.response
    }
  }

  class LeanResponse extends Part {
    get request(): object {
      return this.ctx.request
    }
  }

  class LeanContext {
    readonly app = app
    readonly req: IncomingMessage
    readonly res: ServerResponse
    readonly originalUrl: string
    prepared: PreparedReply | undefined = undefined
    params: Readonly<Record<string, string>> = noParams
    extraHeaders: readonly string[] = noHeaders
    cancellation: Watch | undefined = undefined
    permit: Permit | undefined = undefined
    begunAtMs = 0
    requestedMs = 0
    arrivedAtMs = 0
    trace: Trace | undefined = undefined
    problem: ProblemCode | undefined = undefined
    failure: unknown = undefined
    requestId: string | undefined = undefined
    ended = false
    _matchedRoute: string | RegExp | undefined = undefined
    _request: LeanRequest | undefined = undefined
    _response: LeanResponse | undefined = undefined
    _state: object | undefined = undefined
    /** Set to false by a middleware that answers by itself. */
    respond: boolean | undefined = undefined

    constructor(req: IncomingMessage, res: ServerResponse) {
      this.req = req
      this.res = res
      this.originalUrl = req.url!
    }

    get request(): object {
      return (this._request ??= new LeanRequest(this))
    }

    get response(): object {
      this._response ??= new LeanResponse(this)
      const { prepared } = this
      if (prepared !== undefined) {
        this.prepared = undefined
        this.#unfold(this._response as unknown as Koa.Response, prepared)
      }
      return this._response
    }

    get state(): object {
      return (this._state ??= {})
    }

    set state(state: object) {
      this._state = state
    }

    reply(status: number, type: string, body: string | Buffer, headers: readonly string[] = noHeaders): void {
      const reply = { status, type, body, headers }
      const first = this._response === undefined && this.prepared === undefined
      if (first && replies === 'direct' && !isBodiless(status)) this.prepared = reply
      else this.#unfold(this.response as Koa.Response, reply)
    }

    #unfold(response: Koa.Response, { status, type, body, headers }: PreparedReply): void {
      response.status = status
      response.set('Content-Type', type)
      for (let i = 0; i < headers.length; i += 2) response.set(headers[i]!, headers[i + 1]!)
      response.body = body
    }
  }

  Object.setPrototypeOf(Part.prototype, null)
  Object.setPrototypeOf(LeanRequest.prototype, app.request)
  Object.setPrototypeOf(LeanResponse.prototype, app.response)
  Object.setPrototypeOf(LeanContext.prototype, app.context)
  return LeanContext
}
