import assert from 'node:assert/strict'
import { test } from 'node:test'
import { seededRandom } from '../../../src/kit/random.ts'
import { backoffMs, retryAfterMs } from '../../../src/service/upstreams/backoff.ts'

const almostOne = (): number => 1 - 2 ** -53

test('the bound of the back-off doubles from 25 ms to a second', () => {
  const bounds = [1, 2, 3, 4, 5, 6, 7, 8, 60].map((retry) => Math.round(backoffMs(retry, almostOne)))
  assert.deepEqual(bounds, [25, 50, 100, 200, 400, 800, 1_000, 1_000, 1_000])
})

test('retries that are due together spread evenly over the whole of the bound', () => {
  const random = seededRandom(7)
  const quarters = [0, 0, 0, 0]
  for (let i = 0; i < 4_000; i += 1) quarters[Math.floor(backoffMs(3, random) / 25)]! += 1
  for (const count of quarters) assert.ok(Math.abs(count - 1_000) < 120, String(quarters))
})

test('Retry-After counts seconds, or from the answer to a date by the same clock', () => {
  const date = 'Wed, 21 Oct 2015 07:28:00 GMT'
  assert.equal(retryAfterMs({ 'retry-after': '2' }), 2_000)
  assert.equal(retryAfterMs({ 'retry-after': 'Wed, 21 Oct 2015 07:28:05 GMT', date }), 5_000)
  assert.equal(retryAfterMs({ 'retry-after': 'Wed, 21 Oct 2015 07:27:00 GMT', date }), 0)
})

test('a Retry-After that says nothing asks for nothing', () => {
  const date = 'Wed, 21 Oct 2015 07:28:00 GMT'
  for (const value of [undefined, '', 'soon', '-1', ['1', '2']]) {
    assert.equal(retryAfterMs({ 'retry-after': value, date }), 0, String(value))
  }
  assert.equal(retryAfterMs({ 'retry-after': 'Wed, 21 Oct 2015 07:28:05 GMT' }), 0)
})
