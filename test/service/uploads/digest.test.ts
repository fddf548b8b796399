import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { InputError } from '../../../src/kit/errors.ts'
import { digestField, sha256In } from '../../../src/service/uploads/digest.ts'

const digests = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex'))

test('what is written as a digest is read as the same one, also between others', () => {
  fc.assert(
    fc.property(digests, (sha256) => {
      const field = digestField(sha256)
      for (const given of [field, `md5=:AA==:, ${field}`, `${field};q=1 , sha-512=:AA==:`]) {
        assert.equal(sha256In('Content-Digest', given), sha256)
      }
    }),
  )
})

test('a field without a SHA-256 says nothing', () => {
  for (const given of [undefined, '', 'sha-512=:AA==:', 'x-sha-256=:AA==:']) {
    assert.equal(sha256In('Content-Digest', given), undefined)
  }
})

for (const given of ['sha-256', 'sha-256=abc', 'sha-256=:AA==:', `sha-256=${'A'.repeat(43)}=`]) {
  test(`${given} is a mistake`, () => assert.throws(() => sha256In('Content-Digest', given), InputError))
}
