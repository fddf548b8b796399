import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { z } from 'zod'
import { InputError, type Mistake } from '../../../src/kit/errors.ts'
import type { ServiceContext } from '../../../src/service/http/lean-koa.ts'
import { integer, integers, parameters, type ParameterSchema } from '../../../src/service/http/parameters.ts'

const read = <Schema extends ParameterSchema>(query: string, schema: Schema): z.output<Schema> =>
  parameters({ req: { url: `/path${query}` } } as ServiceContext, schema)

/** What is wrong with a query, `[]` where nothing is. */
const mistakes = (query: string, schema: ParameterSchema): readonly Mistake[] => {
  try {
    read(query, schema)
    return []
  } catch (error) {
    assert.ok(error instanceof InputError, String(error))
    return error.mistakes
  }
}

const runs = { seed: 2026, numRuns: 1_000 }
const one = z.strictObject({ ms: integer(5, 60_000) })
const accepted = 'one whole number from 5 to 60000'

const numeral = fc.oneof(
  fc.integer({ min: -10, max: 70_000 }).map(String),
  fc.bigInt({ min: 0n, max: 10n ** 20n }).map(String),
  fc.tuple(fc.nat(100_000), fc.constantFrom(6, 15, 16, 30)).map(([value, width]) => String(value).padStart(width, '0')),
  fc.stringMatching(/^[ +-]?\d{1,5}(\.\d|e\d| |n|_0)?$/),
  fc.constantFrom(
    '',
    'NaN',
    'Infinity',
    '1e9',
    '0x10',
    '5.0',
    ' 5',
    '+5',
    '-1',
    '\u0665',
    '5\n',
    '5\u0000',
    '५',
    '1,2',
  ),
  fc.string(),
)

test('a whole number is accepted exactly when it is at most 15 decimal digits within the bounds', () => {
  fc.assert(
    fc.property(numeral, fc.nat(100), fc.nat(100_000), (text, min, range) => {
      const max = min + range
      const schema = z.strictObject({ n: integer(min, max) })
      const query = `?n=${encodeURIComponent(text)}`
      const good = /^[0-9]{1,15}$/.test(text) && Number(text) >= min && Number(text) <= max
      if (good) assert.deepEqual(read(query, schema), { n: Number(text) })
      else
        assert.deepEqual(mistakes(query, schema), [
          { field: 'n', value: text, accepted: `one whole number from ${min} to ${max}` },
        ])
    }),
    runs,
  )
})

test('both bounds are inside, their neighbours outside', () => {
  assert.deepEqual(read('?ms=5', one), { ms: 5 })
  assert.deepEqual(read('?ms=60000', one), { ms: 60_000 })
  for (const text of ['4', '60001']) assert.equal(mistakes(`?ms=${text}`, one).length, 1)
})

test('a list is accepted exactly when each part is, and there are not too many', () => {
  const schema = z.strictObject({ ms: integers(0, 1_000, 5) })
  fc.assert(
    fc.property(fc.array(numeral, { maxLength: 7 }), (parts) => {
      const text = parts.join(',')
      const split = text.split(',')
      const good = split.length <= 5 && split.every((part) => /^[0-9]{1,15}$/.test(part) && Number(part) <= 1_000)
      const found = mistakes(`?ms=${encodeURIComponent(text)}`, schema)
      const expected = {
        field: 'ms',
        value: text,
        accepted: '1 to 5 whole numbers from 0 to 1000, separated by commas',
      }
      assert.deepEqual(found, good ? [] : [expected])
    }),
    runs,
  )
})

test('an absent parameter is a mistake without a value, unless it has a default', () => {
  assert.deepEqual(mistakes('', one), [{ field: 'ms', value: undefined, accepted }])
  assert.deepEqual(read('', z.strictObject({ ms: integer(0, 9, 7) })), { ms: 7 })
  assert.deepEqual(read('?', z.strictObject({ ms: integer(0, 9, 7) })), { ms: 7 })
})

test('a parameter given twice is a mistake that shows both, also where both are good and equal', () => {
  assert.deepEqual(mistakes('?ms=10&ms=10', one), [{ field: 'ms', value: ['10', '10'], accepted }])
  assert.deepEqual(mistakes('?ms=10&%6ds=20', one), [{ field: 'ms', value: ['10', '20'], accepted }])
})

test('a parameter that is not known is named, with those that are', () => {
  const two = z.strictObject({ wait: integer(0, 9, 0), cpu: integer(0, 9, 0) })
  assert.deepEqual(mistakes('?wiat=5', two), [{ field: 'wiat', value: '5', accepted: 'only wait, cpu' }])
  assert.deepEqual(mistakes('?a', z.strictObject({})), [{ field: 'a', value: '', accepted: 'nothing here' }])
})

test('names that every object has are as unknown as others', () => {
  for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'length']) {
    assert.deepEqual(mistakes(`?ms=5&${name}=1`, one), [{ field: name, value: '1', accepted: 'only ms' }])
  }
})

test('all mistakes are told at once, each field once', () => {
  const three = z.strictObject({ wait: integer(0, 9), cpu: integer(0, 9), queries: integer(0, 9, 1) })
  const found = mistakes('?wait=-1&queries=x&queries=y&more=1&other=2', three)
  assert.deepEqual(found.map(({ field }) => field).toSorted(), ['cpu', 'more', 'other', 'queries', 'wait'])
})

test('names and values are percent-decoded', () => {
  assert.deepEqual(read('?%6D%73=%31%30', one), { ms: 10 })
  assert.equal(mistakes('?ms=%2010', one)[0]?.value, ' 10')
  assert.equal(mistakes('?ms=+10', one)[0]?.value, ' 10')
  assert.equal(mistakes('?ms=%', one)[0]?.value, '%')
  assert.equal(mistakes('?ms=%ff', one)[0]?.value, '\ufffd')
})

test('no query, however odd, does anything but pass or name its mistakes', () => {
  const piece = fc.oneof(
    fc.constantFrom('&', '=', '?', '%', 'ms', 'ms=5', '&&', '%00', '[]', 'ms[]=5', ';'),
    fc.string(),
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 60 }), (pieces) => {
      const query = `?${pieces.join('')}`
      const found = mistakes(query, one)
      if (found.length === 0) assert.equal(new URLSearchParams(query).getAll('ms').length, 1)
    }),
    runs,
  )
})

test('a mistake after many good and empty parts is still found', () => {
  assert.equal(mistakes(`?ms=10${'&'.repeat(100)}ms=20`, one).length, 1)
  assert.equal(mistakes(`?ms=10&${'x=1&'.repeat(100)}`, one).length, 1)
})
