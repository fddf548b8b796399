import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { safeFileName } from '../../../src/service/uploads/file-name.ts'

const anyText = fc.string({
  unit: fc.oneof(
    fc.constantFrom('/', '\\', '.', '\0', '\n', '\u202e', '\ud800'),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
  ),
})

test('whatever is given, a name is none or one part of a path, without control characters, of 1 to 255 characters', () => {
  fc.assert(
    fc.property(anyText, (given) => {
      const name = safeFileName(given)
      if (name === null) return
      assert.doesNotMatch(name, /[/\\\p{Cc}\u202a-\u202e\u2066-\u2069]/u)
      assert.ok(name.isWellFormed() && !['', '.', '..'].includes(name))
      assert.ok(Array.from(name).length <= 255)
    }),
  )
})

test('making a name harmless twice changes nothing more', () => {
  fc.assert(
    fc.property(anyText, (given) => {
      const name = safeFileName(given)
      assert.equal(safeFileName(name ?? undefined), name)
    }),
  )
})

const names: readonly (readonly [given: string | undefined, name: string | null])[] = [
  [undefined, null],
  ['', null],
  ['..', null],
  ['../../etc/passwd', 'passwd'],
  ['C:\\Users\\me\\photo 1.jpg', 'photo 1.jpg'],
  ['folder/', null],
  ['a\r\nSet-Cookie: x', 'aSet-Cookie: x'],
  ['invoice\u202efdp.exe', 'invoicefdp.exe'],
  ['e\u0301t\u00e9.txt', '\u00e9t\u00e9.txt'],
  ['\u65e5\u672c.txt', '\u65e5\u672c.txt'],
  ['x'.repeat(300), 'x'.repeat(255)],
]

for (const [given, name] of names) {
  test(`${JSON.stringify(given)} is called ${JSON.stringify(name)}`, () => assert.equal(safeFileName(given), name))
}
