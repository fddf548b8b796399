import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Outcome } from '../../../src/service/upstreams/transport.ts'
import { judge } from '../../../src/service/upstreams/verdict.ts'
import { answer, broken } from './fake-transport.ts'

const summary = (outcome: Outcome): [status: string, retryable: boolean, healthy: boolean] => {
  const { ending, retryable, healthy } = judge(outcome)
  return [ending.status, retryable, healthy]
}

test('only a lost connection, 502, 503 and 504 are worth another attempt, and only 5xx and no answer are a failure', () => {
  assert.deepEqual(summary(broken), ['error', true, false])
  const expected: Record<number, [string, boolean, boolean]> = {
    200: ['ok', false, true],
    201: ['ok', false, true],
    301: ['invalid', false, true],
    304: ['invalid', false, true],
    400: ['refused', false, true],
    404: ['refused', false, true],
    429: ['refused', false, true],
    500: ['error', false, false],
    501: ['error', false, false],
    502: ['error', true, false],
    503: ['error', true, false],
    504: ['timeout', true, false],
  }
  for (const [status, verdict] of Object.entries(expected)) {
    assert.deepEqual(summary(answer(Number(status))), verdict, status)
  }
})

test('a body is passed on as it was written, once it is known to be JSON', () => {
  for (const body of [
    '{"id":12345678901234567890}',
    ' [1.0] ',
    'null',
    '"\u00fc"',
    `${'['.repeat(9e4)}${']'.repeat(9e4)}`,
  ]) {
    assert.deepEqual(judge(answer(200, body)).ending, { status: 'ok', httpStatus: 200, body })
  }
})

test('a body that is not JSON, not UTF-8 or too large is invalid, whatever its status says', () => {
  for (const body of ['', '<html>', '{"a":', 'NaN', '{} {}'])
    assert.equal(summary(answer(200, body))[0], 'invalid', body)
  const latin1 = { kind: 'answer', status: 200, headers: {}, body: Buffer.from('"\u00fc"', 'latin1') } as const
  assert.equal(summary(latin1)[0], 'invalid')
  assert.deepEqual(summary({ ...latin1, body: undefined }), ['invalid', false, true])
})

test('the body of a failure is of no interest', () => {
  assert.equal(summary({ kind: 'answer', status: 500, headers: {}, body: undefined })[0], 'error')
  assert.equal(summary(answer(404, '<html>'))[0], 'refused')
})
