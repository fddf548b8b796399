import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import httpErrors from 'http-errors'
import type Koa from 'koa'
import { problems, type ProblemCode } from '../../contract/problems.ts'
import { Failure, InputError, describeMistake } from '../../kit/errors.ts'
import type { LeanKoa, ServiceContext } from './lean-koa.ts'
import { rawHeader } from './raw-header.ts'

/** A failure that must tell the client more than its code in a header, for example which methods are allowed. */
export class HttpFailure extends Failure<ProblemCode> {
  readonly headers: Readonly<Record<string, string>>

  constructor(code: ProblemCode, headers: Readonly<Record<string, string>>, detail?: string) {
    super(code, detail === undefined ? {} : { detail })
    this.headers = headers
  }
}

/** The body of an answer outside 2xx (RFC 9457), with the members `code`, `requestId` and `errors` added. */
export type ProblemDetails = {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly code: ProblemCode
  readonly detail?: string
  readonly requestId: string
  readonly errors?: readonly { field: string; value: unknown; accepted: string; detail: string }[]
}

type Answer = { code: ProblemCode; detail?: string; headers: Record<string, string>; errors?: ProblemDetails['errors'] }

/**
 * The single map from an error to what a client is told. What is not expected becomes `internal-error`, and its message
 * stays inside.
 */
export const answerTo = (error: unknown): Answer => {
  if (error instanceof InputError) return inputAnswer(error)
  if (error instanceof Failure) return failureAnswer(error)
  if (httpErrors.isHttpError(error) && error.status < 500) {
    const code = codeOfStatus(error.status)
    return { code, headers: closesConnection(code), ...(error.expose && { detail: error.message }) }
  }
  return { code: 'internal-error', headers: {} }
}

/** Koa's own place for errors, `ctx.onerror`: every answer outside 2xx is written here. */
export function answerProblem(this: Koa.Context, error: Error | null | undefined): void {
  if (error === null || error === undefined) return
  const { res } = this
  const answer = answerTo(error)
  const ctx = this as unknown as ServiceContext
  ctx.problem = answer.code
  const id = requestId(rawHeader(this.req, 'x-request-id'))
  if (!res.headersSent && !res.writableEnded && !res.destroyed) ctx.requestId = id
  if (answer.code === 'internal-error') {
    ctx.failure = error
    this.app.emit('error', error, this)
  }
  if (res.writableEnded || res.destroyed) return
  // Half an answer is out: only a cut connection tells the client that it is not whole.
  if (res.headersSent) return void res.destroy()
  for (const name of res.getHeaderNames()) res.removeHeader(name)
  const { status } = problems[answer.code]
  const body = JSON.stringify(problemDetails(answer, id))
  ;(this.app as LeanKoa).setStandardHeaders(ctx)
  res.writeHead(status, {
    ...answer.headers,
    'Content-Type': 'application/problem+json',
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    'X-Request-Id': id,
  })
  if (answer.code === 'body-too-large') endAfterRest(this.req, res, body)
  else res.end(body)
}

/**
 * Makes an answer of one problem that costs as little as can be, for those who refuse a flood: nothing is thrown, and the
 * document is ready but for the request id. It is the same that `answerProblem` gives for a `Failure` of that code and
 * detail.
 */
export const problemReply = (
  code: ProblemCode,
  detail: string,
): ((ctx: ServiceContext, retryAfterSeconds: number) => void) => {
  const { status } = problems[code]
  const [head, tail] = JSON.stringify(problemDetails({ code, headers: {}, detail }, idMark)).split(idMark)
  return (ctx, retryAfterSeconds) => {
    ctx.problem = code
    const id = (ctx.requestId = requestId(rawHeader(ctx.req, 'x-request-id')))
    const more = ['Cache-Control', 'no-store', 'X-Request-Id', id, 'Retry-After', String(Math.ceil(retryAfterSeconds))]
    ctx.reply(status, 'application/problem+json', head + id + tail!, more)
  }
}

/** Stands where the request id goes; no detail has it. */
const idMark = '\u{1F194}'

/** How long a client that is told to stop sending may go on, and how long it has to read why. */
const lingerMs = 1_000

/**
 * Ends the answer when the rest of the body has come, unread. Closing under a client that is still sending would reset
 * the connection, and many a client then never looks for the answer.
 */
const endAfterRest = (req: IncomingMessage, res: ServerResponse, body: string): void => {
  if (req.readableEnded) return void res.end(body)
  res.write(body)
  const timer = setTimeout(() => res.end(), lingerMs)
  res.once('close', () => clearTimeout(timer))
  req.once('end', () => res.end())
  req.resume()
}

/** The details of a problem, in the order in which a person reads them. */
export const problemDetails = ({ code, detail, errors }: Answer, requestId: string): ProblemDetails => ({
  type: `/problems/${code}`,
  title: problems[code].title,
  status: problems[code].status,
  code,
  ...(detail !== undefined && { detail }),
  requestId,
  ...(errors !== undefined && { errors }),
})

const inputAnswer = ({ mistakes }: InputError): Answer => ({
  code: 'invalid-request',
  detail: mistakes.map(describeMistake).join('; '),
  headers: {},
  errors: mistakes.map((mistake) => ({
    ...mistake,
    value: shortened(mistake.value),
    detail: describeMistake(mistake),
  })),
})

const failureAnswer = (failure: Failure): Answer => {
  if (!Object.hasOwn(problems, failure.code)) return { code: 'internal-error', headers: {} }
  const code = failure.code as ProblemCode
  const headers: Record<string, string> = { ...closesConnection(code) }
  if (failure.retryAfterSeconds !== undefined) headers['Retry-After'] = String(Math.ceil(failure.retryAfterSeconds))
  if (failure instanceof HttpFailure) Object.assign(headers, failure.headers)
  return { code, headers, ...(failure.detail !== undefined && { detail: failure.detail }) }
}

// The rest of a body that is not wanted would have to be read before the connection can serve another request; and
// nobody limits how long the one behind an `Expect` that is not met may take.
const closesConnection = (code: ProblemCode): Record<string, string> =>
  code === 'body-too-large' || code === 'expectation-failed' ? { Connection: 'close' } : {}

const codeOfStatus = (status: number): ProblemCode => {
  // An error of 400 that is not an InputError has no list of mistakes to show.
  if (status === 400) return 'malformed-request'
  const known = (Object.keys(problems) as ProblemCode[]).find((code) => problems[code].status === status)
  return known ?? 'malformed-request'
}

const longestEcho = 200

const shortened = (value: unknown): unknown =>
  typeof value === 'string' && value.length > longestEcho ? `${value.slice(0, longestEcho)}…` : value

/** A request id that can stand in a header, a log and a document. */
export const harmlessId = /^[\w.:-]{1,128}$/

/** The caller's request id where it has a harmless form, otherwise a new one. */
const requestId = (given: string | undefined): string =>
  given !== undefined && harmlessId.test(given) ? given : crypto.randomUUID()

/**
 * Answers what Node's parser could not read as a request, where Koa never comes to see it: a header section that is too
 * large, one that is slow to arrive, or no HTTP at all.
 */
export const answerUnreadable =
  (app: LeanKoa) =>
  (error: NodeJS.ErrnoException, socket: Duplex): void => {
    // Told already: what the parser says of the bytes that still come is of no interest.
    if (socket.writableEnded) return
    if (error.code === 'ECONNRESET' || !socket.writable || isAnswering(socket)) return void socket.destroy()
    const code = unreadable[error.code ?? ''] ?? 'malformed-request'
    app.observer?.refused(code)
    const body = JSON.stringify(problemDetails({ code, headers: {} }, crypto.randomUUID()))
    const { status } = problems[code]
    const headers = ['Content-Type', 'application/problem+json', 'Content-Length', String(Buffer.byteLength(body))]
    const lines = pairs([...headers, ...app.standardHeaders]).map(([name, value]) => `${name}: ${value}\r\n`)
    socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}Connection: close\r\n\r\n${body}`)
    // A late request that is told 408 must not be carried out if it comes after all.
    if (code === 'request-timeout') socket.once('finish', () => socket.destroy())
    else setTimeout(() => socket.destroy(), lingerMs).unref()
  }

/** Whether an answer has begun on the socket; a second head would then stand in its body. Node's own check, too. */
const isAnswering = (socket: Duplex & { readonly _httpMessage?: ServerResponse | null }): boolean =>
  socket._httpMessage?.headersSent === true

const unreadable: Readonly<Record<string, ProblemCode>> = {
  HPE_HEADER_OVERFLOW: 'headers-too-large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 'body-too-large',
  ERR_HTTP_REQUEST_TIMEOUT: 'request-timeout',
}

const pairs = (flat: readonly string[]): [string, string][] =>
  Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i]!, flat[2 * i + 1]!])
