import type { Socket } from 'node:net'
import type { ProblemCode } from '../../contract/problems.ts'
import { Failure } from '../../kit/errors.ts'
import type { Cancellation } from '../../kit/cancellation.ts'
import type { ServiceContext, Watch } from './lean-koa.ts'

const watched = Symbol('requests whose handlers want to know when this connection closes')

/** The requests at work on one connection, as a linked list: there is one, but for clients that pipeline. */
type Requests = { first: Departure | undefined }

type WatchedSocket = Socket & { [watched]?: Requests }

/**
 * Cancels with `client-closed-request` when the connection closes while the handler of `ctx` is at work: whoever works
 * for this request can stop. `LeanKoa` ends it with the handler.
 *
 * An AbortSignal and a listener on the response for each request would do the same for three times the price. Here a
 * connection has one listener for all of its requests.
 */
export const departure = (ctx: ServiceContext): Cancellation => {
  ctx.departure ??= new Departure(ctx.req.socket)
  return ctx.departure
}

/** Watches for the client of one request to go: until `end` is called, or it has gone. */
class Departure implements Watch {
  aborted = false
  reason: unknown = undefined
  next: Departure | undefined
  readonly #requests: Requests
  #listener: (() => void) | undefined = undefined
  #listeners: (() => void)[] | undefined = undefined

  constructor(socket: WatchedSocket) {
    this.#requests = socket[watched] ??= watch(socket)
    this.next = this.#requests.first
    this.#requests.first = this
    if (socket.destroyed) this.abort()
  }

  end(): void {
    const requests = this.#requests
    if (requests.first === this) {
      requests.first = this.next
      return
    }
    for (let at = requests.first; at !== undefined; at = at.next) {
      if (at.next === this) at.next = this.next
    }
  }

  abort(): void {
    this.aborted = true
    this.reason = new Failure<ProblemCode>('client-closed-request')
    const listeners = [this.#listener, ...(this.#listeners ?? [])]
    this.#listener = this.#listeners = undefined
    for (const listener of listeners) listener?.()
  }

  throwIfAborted(): void {
    if (this.aborted) throw this.reason as Error
  }

  addEventListener(_type: 'abort', listener: () => void): void {
    // One is the rule, and an array for it would be made for each request.
    if (this.#listener === undefined) this.#listener = listener
    else (this.#listeners ??= []).push(listener)
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    if (this.#listener === listener) this.#listener = undefined
    else this.#listeners = this.#listeners?.filter((other) => other !== listener)
  }
}

const watch = (socket: Socket): Requests => {
  const requests: Requests = { first: undefined }
  socket.once('close', () => {
    for (let at = requests.first; at !== undefined; at = at.next) at.abort()
    requests.first = undefined
  })
  return requests
}
