import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { byteRange } from '../../../src/service/uploads/byte-range.ts'

const sizes = fc.nat(50)

/** What RFC 9110 says of each position, without arithmetic. */
const positions = (size: number, wanted: (position: number) => boolean): number[] =>
  Array.from({ length: size }, (_, position) => position).filter(wanted)

const assertAre = (range: ReturnType<typeof byteRange>, expected: readonly number[]): void => {
  const span = { start: expected[0], end: expected.at(-1) }
  assert.deepEqual(range, expected.length === 0 ? 'unsatisfiable' : span)
}

test('first to last are the positions between them that there are', () => {
  fc.assert(
    fc.property(sizes, fc.nat(60), fc.nat(60), (size, first, more) => {
      const last = first + more
      assertAre(
        byteRange(`bytes=${first}-${last}`, size),
        positions(size, (at) => at >= first && at <= last),
      )
    }),
  )
})

test('an open range goes to the end, and a suffix is that many bytes of it, or all there are', () => {
  fc.assert(
    fc.property(sizes, fc.nat(60), (size, count) => {
      assertAre(
        byteRange(`bytes=${count}-`, size),
        positions(size, (at) => at >= count),
      )
      assertAre(
        byteRange(`bytes=-${count}`, size),
        positions(size, (at) => at >= size - count),
      )
    }),
  )
})

const passedOver = [
  undefined,
  '',
  'bytes',
  'bytes=',
  'bytes=-',
  'bytes=1',
  'bytes=5-4',
  'bytes=1-x',
  'bytes=0-1,3-4',
  'items=0-1',
  'bytes 0-1',
  'bytes=-1-2',
]

for (const given of passedOver) {
  test(`the range ${JSON.stringify(given)} counts for nothing`, () => assert.equal(byteRange(given, 10), 'whole'))
}

test('numbers without end are numbers', () => {
  const many = '9'.repeat(400)
  assert.deepEqual(byteRange(`bytes=0-${many}`, 10), { start: 0, end: 9 })
  assert.deepEqual(byteRange(`bytes=-${many}`, 10), { start: 0, end: 9 })
  assert.equal(byteRange(`bytes=${many}-`, 10), 'unsatisfiable')
})

test('the unit may be in any case', () => assert.deepEqual(byteRange('BYTES= 2-3 ', 10), { start: 2, end: 3 }))
