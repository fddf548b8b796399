/** What a log line says of an error. */
export type LoggedError = {
  /** The class of the error. */
  readonly type: string
  readonly message: string
  /** A code of Node's, of the system's, or an SQLSTATE. */
  readonly code?: string | undefined
  /** Without the message. */
  readonly stack?: string | undefined
  readonly cause?: LoggedError | undefined
  /** Of an AggregateError. */
  readonly errors?: readonly LoggedError[] | undefined
}

const longestMessage = 500
const longestStack = 1_500
/** Causes of causes, and errors in errors. */
const deepest = 4
const mostErrors = 4

/**
 * Describes what was thrown by what is known to hold no data of clients: its class, message, code, stack and causes. All
 * else that libraries hang on their errors stays out: of PostgreSQL's the rows and values (`detail`, `where`), of URLs and
 * JSON the input, of an HTTP client's the request. Messages that quote values are told without them.
 */
export const describeError = (thrown: unknown, depth = deepest): LoggedError => {
  if (!isErrorLike(thrown)) return { type: typeof thrown, message: 'thrown, but not an error' }
  const { code, cause, errors } = thrown
  const deeper = depth > 1
  return {
    type: typeOf(thrown),
    message: messageOf(thrown),
    code: typeof code === 'string' && /^\w{1,64}$/.test(code) ? code : undefined,
    stack: stackOf(thrown),
    cause: deeper && cause !== undefined && cause !== null ? describeError(cause, depth - 1) : undefined,
    errors:
      deeper && Array.isArray(errors)
        ? errors.slice(0, mostErrors).map((one) => describeError(one, depth - 1))
        : undefined,
  }
}

type ErrorLike = {
  /** Undefined where the object has no prototype. */
  readonly constructor: { readonly name: string } | undefined
  readonly name?: unknown
  readonly message: string
  readonly code?: unknown
  readonly severity?: unknown
  readonly stack?: unknown
  readonly cause?: unknown
  readonly errors?: unknown
}

const isErrorLike = (thrown: unknown): thrown is ErrorLike =>
  typeof thrown === 'object' && thrown !== null && typeof (thrown as ErrorLike).message === 'string'

/** Its name, unless that says nothing: PostgreSQL's client calls its `DatabaseError` "error". */
const typeOf = ({ name, constructor }: ErrorLike): string =>
  typeof name === 'string' && /^(?!error$)\w{1,64}$/i.test(name) ? name : (constructor?.name ?? 'Error')

const messageOf = (error: ErrorLike): string => {
  const { message } = error
  const safe = quotesData(error) ? message.replace(/".*"/s, '"…"') : message
  return safe.replace(userInformation, '$1…@').replace(received, '$1…').slice(0, longestMessage)
}

const userInformation = /(:\/\/)[^/\s]*@/g
/** Node's words before a value that it does not accept. */
const received = /(\bReceived ).*/s

/**
 * Whether the message quotes what it complains of: JSON.parse shows the text, PostgreSQL the value in errors of class 22
 * (data exceptions), such as `invalid input syntax for type uuid: "..."`.
 */
const quotesData = ({ name, severity, code }: ErrorLike): boolean =>
  name === 'SyntaxError' || (severity !== undefined && typeof code === 'string' && code.startsWith('22'))

/** The frames: before them a stack repeats the message as it was. */
const stackOf = ({ stack, message }: ErrorLike): string | undefined => {
  if (typeof stack !== 'string') return undefined
  const end = stack.indexOf(message)
  const rest = end === -1 ? stack : stack.slice(end + message.length)
  const frames = rest.split('\n').filter((line) => /^ {4}at /.test(line))
  return frames.length === 0 ? undefined : frames.join('\n').slice(0, longestStack)
}
