import type { ProblemCode } from '../../contract/problems.ts'
import { Failure } from '../../kit/errors.ts'

/** Names what happened to the database or to a statement, where that is a thing to expect; other errors come back as they are. */
export const databaseFailure = (error: unknown): unknown => {
  if (error instanceof Failure || !(error instanceof Error)) return error
  const code = problemOf(error)
  return code === undefined ? error : new Failure<ProblemCode>(code, { ...told[code], cause: error })
}

/** Whether a failure made by `databaseFailure` says that the connection is of no more use. */
export const isUnavailable = (failure: unknown): boolean =>
  failure instanceof Failure && failure.code === ('database-unavailable' satisfies ProblemCode)

/**
 * Whether the server no longer has the prepared statement (`DISCARD ALL`, a pooler that gave the connection another
 * server process), or has it for a table whose columns have changed since. The message of the latter is translated on
 * some servers, the name of the C function that reports it is not.
 */
export const isStalePlan = (error: unknown): boolean => {
  const { code, routine } = error as { code?: unknown; routine?: unknown }
  return code === '26000' || (code === '0A000' && routine === 'RevalidateCachedQuery')
}

/** Whether the server ended the statement early: it took longer than it may, or somebody cancelled it. */
export const isCancelled = (error: unknown): boolean => (error as { code?: unknown }).code === '57014'

/** What a connection fails with whose peer has not answered for longer than the server lets any statement run. */
export const silence = (): Error => new Error('Connection terminated: no answer within the statement timeout')

/** What every use fails with, at once, while no connection is up. */
export const unavailable = (): Failure<ProblemCode> =>
  new Failure('database-unavailable', { ...told['database-unavailable'] })

const told: Partial<Record<ProblemCode, { detail: string; retryAfterSeconds?: number }>> = {
  'database-unavailable': { detail: 'the database cannot be reached', retryAfterSeconds: 1 },
  'database-busy': { detail: 'the statement met others that hold what it needs', retryAfterSeconds: 1 },
  'deadline-exceeded': { detail: 'the statement was cancelled: it took too long or its request went away' },
}

const problemOf = (error: Error): ProblemCode | undefined => {
  const state = sqlState(error)
  if (state === undefined) return isConnectionError(error) ? 'database-unavailable' : undefined
  if (connectionStates.test(state)) return 'database-unavailable'
  if (state === '57014') return 'deadline-exceeded'
  // Serialization failure, deadlock, lock timeout.
  if (state === '40001' || state === '40P01' || state === '55P03') return 'database-busy'
  return undefined
}

// Class 08 connection exception, 53 insufficient resources, 57P01..05 shutdown and start-up, 28 and 3D at connecting.
// https://www.postgresql.org/docs/current/errcodes-appendix.html
const connectionStates = /^(08|53|57P0|28|3D)/

/** The SQLSTATE of an error that the server has sent; undefined for any other. */
export const sqlState = (error: unknown): string | undefined => {
  const { code, severity } = error as { code?: unknown; severity?: unknown }
  return typeof code === 'string' && code.length === 5 && severity !== undefined ? code : undefined
}

// pg has no class for these, and of most no code either.
const isConnectionError = (error: Error): boolean => {
  const { code } = error as { code?: unknown }
  const isSystem = typeof code === 'string' && /^(E[A-Z]{3,}|ERR_(STREAM|SOCKET)_)/.test(code)
  return isSystem || 'syscall' in error || connectionMessages.test(error.message)
}

const connectionMessages =
  /Connection terminated|timeout expired|not queryable|timeout exceeded when trying to connect|SSL/
