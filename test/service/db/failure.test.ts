import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../src/kit/errors.ts'
import { databaseFailure, isStalePlan, isUnavailable } from '../../../src/service/db/failure.ts'

const sqlError = (code: string, more: object = {}): Error =>
  Object.assign(new Error('as the server says it'), { code, severity: 'ERROR', ...more })

const codeOf = (error: unknown): string | undefined => {
  const failure = databaseFailure(error)
  return failure instanceof Failure ? failure.code : undefined
}

const meanings: readonly { readonly code: string; readonly states: readonly string[] }[] = [
  { code: 'database-unavailable', states: ['08006', '53300', '57P01', '57P03', '28P01', '3D000'] },
  { code: 'deadline-exceeded', states: ['57014'] },
  { code: 'database-busy', states: ['40001', '40P01', '55P03'] },
]

for (const { code, states } of meanings) {
  test(`the states ${states.join(', ')} mean ${code}`, () => {
    for (const state of states) assert.equal(codeOf(sqlError(state)), code, state)
  })
}

test('an error of SQL that nobody expects comes back as it is', () => {
  for (const state of ['22012', '42P01', '23505', '26000']) {
    const error = sqlError(state)
    assert.equal(databaseFailure(error), error)
  }
})

test('whatever ends a connection means database-unavailable, and keeps its cause', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED', syscall: 'connect' })
  const several = Object.assign(new AggregateError([refused]), { code: 'ECONNREFUSED' })
  const closed = new Error('Connection terminated unexpectedly')
  const queued = new Error('Client has encountered a connection error and is not queryable')
  for (const error of [refused, several, closed, queued, new Error('timeout expired')]) {
    const failure = databaseFailure(error)
    assert.ok(isUnavailable(failure), error.message)
    assert.equal((failure as Failure).cause, error)
    assert.equal((failure as Failure).retryAfterSeconds, 1)
  }
})

test('errors that have nothing to do with the database come back as they are', () => {
  const named = new Failure('threads-busy')
  for (const error of [new TypeError('x is not a function'), named, 'a text', undefined]) {
    assert.equal(databaseFailure(error), error)
    assert.equal(isUnavailable(error), false)
  }
})

test('a plan is stale when its statement is gone or its result has changed, not for other missing features', () => {
  assert.ok(isStalePlan(sqlError('26000')))
  assert.ok(isStalePlan(sqlError('0A000', { routine: 'RevalidateCachedQuery' })))
  assert.equal(isStalePlan(sqlError('0A000', { routine: 'transformDeclareCursorStmt' })), false)
  assert.equal(isStalePlan(new Error('Connection terminated')), false)
})
