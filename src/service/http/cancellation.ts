import type { Socket } from 'node:net'
import type { ProblemCode } from '../../contract/problems.ts'
import { Failure } from '../../kit/errors.ts'
import type { Span } from '../../kit/trace.ts'
import type { ServiceContext, Watch } from './lean-koa.ts'
import type { Deadlines, Expiring } from './deadlines.ts'

const watched = Symbol('requests whose handlers want to know when this connection closes')

/** The requests at work on one connection, as a linked list: there is one, but for clients that pipeline. */
type Requests = { first: RequestCancellation | undefined }

type WatchedSocket = Socket & { [watched]?: Requests }

/**
 * The wish that the work for a request should stop, for all who work for it. It comes when
 *
 * - the connection closes while the handler is at work (`client-closed-request`), or
 * - the request's deadline passes (`deadline-exceeded`). The client then has its 504 at once, whatever the handler does.
 *
 * `LeanKoa` ends it with the handler. A request whose handler never asks for it costs nothing and has no deadline: it is
 * answered before anything could pass.
 *
 * An AbortSignal, a listener on the response and a timer for each request would do the same for three times the price.
 * Here a connection has one listener for all of its requests, and all default deadlines share a timer.
 */
export const cancellation = (ctx: ServiceContext): RequestCancellation => {
  const known = ctx.cancellation as RequestCancellation | undefined
  if (known !== undefined) return known
  const made = new RequestCancellation(ctx, ctx.app.deadlines)
  ctx.cancellation = made
  return made
}

/**
 * The same without the default deadline, for a body that may rightly take hours; the client's own deadline holds. It
 * takes what its client takes, which says nothing of the load: see `requestedMs`.
 */
export const unhurriedCancellation = (ctx: ServiceContext): RequestCancellation => {
  const made = cancellation(ctx)
  made.unhurry()
  ctx.requestedMs = Infinity
  return made
}

/** Watches one request: until `end` is called, its client has gone or its deadline has passed. */
class RequestCancellation implements Watch, Expiring {
  aborted = false
  reason: unknown = undefined
  next: RequestCancellation | undefined
  /** On the service's clock; Infinity without one. */
  deadlineAtMs = Infinity
  later: Expiring | undefined = undefined
  earlier: Expiring | undefined = undefined
  timer: unknown = undefined
  readonly #ctx: ServiceContext
  readonly #deadlines: Deadlines | undefined
  readonly #requests: Requests
  #listener: (() => void) | undefined = undefined
  #others: (() => void)[] | undefined = undefined

  constructor(ctx: ServiceContext, deadlines: Deadlines | undefined) {
    const socket: WatchedSocket = ctx.req.socket
    this.#ctx = ctx
    this.#deadlines = deadlines
    deadlines?.add(this, ctx.req)
    this.#requests = socket[watched] ??= watch(socket)
    this.next = this.#requests.first
    this.#requests.first = this
    if (socket.destroyed) this.leave()
  }

  /** What the work for the request is a part of; undefined where that is not recorded. */
  get span(): Span | undefined {
    const { trace } = this.#ctx
    return trace?.sampled === true ? trace.root : undefined
  }

  /** What is left until the deadline; Infinity without one. */
  get remainingMs(): number {
    return this.#deadlines === undefined ? Infinity : this.#deadlines.remainingMs(this)
  }

  unhurry(): void {
    if (!this.aborted) this.#deadlines?.unhurry(this, this.#ctx.req)
  }

  end(): void {
    this.#deadlines?.remove(this)
    const requests = this.#requests
    if (requests.first === this) {
      requests.first = this.next
      return
    }
    for (let at = requests.first; at !== undefined; at = at.next) {
      if (at.next === this) at.next = this.next
    }
  }

  /** The client has gone. */
  leave(): void {
    this.#abort(new Failure<ProblemCode>('client-closed-request'))
  }

  /** The deadline has passed. */
  expire(): void {
    const reason = new Failure<ProblemCode>('deadline-exceeded', { detail: "the request's deadline has passed" })
    this.#abort(reason)
    this.#ctx.onerror(reason)
  }

  throwIfAborted(): void {
    if (this.aborted) throw this.reason as Error
  }

  addEventListener(_type: 'abort', listener: () => void): void {
    // One is the rule, and a list for it would be made for each request.
    if (this.#listener === undefined) this.#listener = listener
    else (this.#others ??= []).push(listener)
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    if (this.#listener === listener) this.#listener = undefined
    else if (this.#others !== undefined) remove(listener, this.#others)
  }

  #abort(reason: Error): void {
    if (this.aborted) return
    this.aborted = true
    this.reason = reason
    const listeners = [this.#listener, ...(this.#others ?? [])]
    this.#listener = this.#others = undefined
    for (const listener of listeners) listener?.()
  }
}

/** Statements of one request end in the order in which they began, so that the first is mostly the one. */
const remove = (listener: () => void, list: (() => void)[]): void => {
  const at = list.indexOf(listener)
  if (at === 0) list.shift()
  else if (at > 0) list.splice(at, 1)
}

const watch = (socket: Socket): Requests => {
  const requests: Requests = { first: undefined }
  socket.once('close', () => {
    for (let at = requests.first; at !== undefined; at = at.next) at.leave()
    requests.first = undefined
  })
  return requests
}
