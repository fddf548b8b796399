import { type Dispatcher, Pool } from 'undici'
import { type Fields, mostBodyBytes, type Outcome, type Transport } from './transport.ts'

/**
 * HTTP/1.1 over kept-alive connections, a pool for each origin. How many there are at once is up to the callers. Redirects
 * are not followed: where an answer points to is no configured upstream.
 */
export const httpTransport = (connectTimeoutMs: number): Transport => {
  const pools = new Map<string, Pool>()
  const options: Pool.Options = {
    connectTimeout: connectTimeoutMs,
    // To abort an attempt is to close its connection, which no one else may be using.
    allowH2: false,
    // The call keeps the time.
    headersTimeout: 0,
    bodyTimeout: 0,
  }
  const poolOf = (origin: string): Pool => {
    const known = pools.get(origin)
    if (known !== undefined) return known
    const made = new Pool(origin, options)
    pools.set(origin, made)
    return made
  }
  return {
    get: (target, headers, landed) => {
      const attempt = new HttpAttempt(landed)
      const request = { path: target.path, method: 'GET', headers: [...target.headers, ...headers] }
      poolOf(target.origin).dispatch(request, attempt)
      return (gone) => attempt.abort(gone)
    },
    close: async () => {
      await Promise.all([...pools.values()].map((pool) => pool.destroy()))
    },
  }
}

const abandoned = new Error('nobody waits for it any more')

/**
 * One GET. `#landed` is set until it has been called or the attempt is aborted, `#gone` from then on; `#controller` from
 * the moment when a connection takes the request up, which may come after the abort when one has to be made first.
 */
class HttpAttempt implements Dispatcher.DispatchHandler {
  #landed: ((outcome: Outcome) => void) | undefined
  #gone: (() => void) | undefined
  #controller: Dispatcher.DispatchController | undefined
  #status = 0
  #headers: Fields = {}
  readonly #chunks: Buffer[] = []
  #bytes = 0

  constructor(landed: (outcome: Outcome) => void) {
    this.#landed = landed
  }

  abort(gone: () => void): void {
    this.#landed = undefined
    this.#gone = gone
    this.#controller?.abort(abandoned)
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#landed === undefined) controller.abort(abandoned)
  }

  /** Called again for the answer that counts when an interim one (1xx) has come before. */
  onResponseStart(_: unknown, status: number, headers: Fields): void {
    this.#status = status
    this.#headers = headers
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#bytes += chunk.length
    if (this.#bytes <= mostBodyBytes) return void this.#chunks.push(chunk)
    this.#answered(undefined)
    controller.abort(abandoned)
  }

  onResponseEnd(): void {
    this.#answered(Buffer.concat(this.#chunks))
  }

  onResponseError(_: unknown, error: Error): void {
    this.#gone?.()
    this.#land({ kind: 'broken', code: nameOf(error) })
  }

  #answered(body: Buffer | undefined): void {
    this.#land({ kind: 'answer', status: this.#status, headers: this.#headers, body })
  }

  #land(outcome: Outcome): void {
    const landed = this.#landed
    this.#landed = undefined
    landed?.(outcome)
  }
}

/** `ECONNREFUSED`, `ECONNRESET`, or undici's words where its code says less. Messages of others may name addresses. */
const nameOf = (error: Error & { readonly code?: unknown }): string => {
  const cause = error.cause as { readonly code?: unknown } | undefined
  const code = cause?.code ?? error.code
  if (code === 'UND_ERR_SOCKET') return error.message
  return typeof code === 'string' ? code : error.name
}
