/** One wrong input: where it stands, what was given, and what would have been accepted. */
export type Mistake = Readonly<{ field: string; value: unknown; accepted: string }>

/** Says a mistake in the one grammar that env, flags, parameters and bodies share. */
export const describeMistake = ({ field, value, accepted }: Mistake): string =>
  `${field}: ${value === undefined ? 'missing' : `got ${show(value)}`}; accepted: ${accepted}`

/** Thrown when input cannot be used; carries every mistake found, not only the first. CLI: exit 2; HTTP: 400. */
export class InputError extends Error {
  override readonly name = 'InputError'
  readonly mistakes: readonly Mistake[]

  constructor(mistakes: readonly Mistake[]) {
    super(mistakes.map(describeMistake).join('\n'))
    this.mistakes = mistakes
  }
}

export type FailureOptions = {
  /** What a caller may do about it; added to the message shown to them. */
  readonly detail?: string
  /** When it is worth trying again, in seconds. */
  readonly retryAfterSeconds?: number
  readonly cause?: unknown
}

/**
 * Thrown for an expected failure that has a name in a registry (see `contract/problems.ts`), by code that knows
 * nothing of HTTP. Its message may be shown to the caller. It carries no stack: refusing must stay cheap.
 */
export class Failure<Code extends string = string> extends Error {
  override readonly name = 'Failure'
  readonly code: Code
  readonly detail: string | undefined
  readonly retryAfterSeconds: number | undefined

  constructor(code: Code, { detail, retryAfterSeconds, cause }: FailureOptions = {}) {
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    super(detail ?? code, cause === undefined ? undefined : { cause })
    Error.stackTraceLimit = limit
    this.code = code
    this.detail = detail
    this.retryAfterSeconds = retryAfterSeconds
  }
}

/**
 * What went wrong, in a word of few, for spans and metrics: the code of an error where it has one, otherwise its class.
 * Never its message, which may tell of values.
 */
export const errorTypeOf = (error: unknown): string => {
  if (!(error instanceof Error)) return otherType
  const { code } = error as { code?: unknown }
  return typeof code === 'string' && code !== '' ? code : error.name
}

const otherType = '_OTHER'

const longestShown = 80

const show = (value: unknown): string => {
  const text = typeof value === 'string' ? JSON.stringify(value) : (JSON.stringify(value) ?? String(value))
  return text.length > longestShown ? `${text.slice(0, longestShown)}… (${text.length} characters)` : text
}
