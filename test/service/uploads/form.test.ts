import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Failure, InputError } from '../../../src/kit/errors.ts'
import { fileOfForm, type FormFile } from '../../../src/service/uploads/form.ts'

const boundary = 'edge'
const type = `multipart/form-data; boundary=${boundary}`

const part = (headers: string, content: Uint8Array | string): Buffer =>
  Buffer.concat([
    Buffer.from(`--${boundary}\r\n${headers}\r\n\r\n`),
    Buffer.from(content as string),
    Buffer.from('\r\n'),
  ])

const fileHeaders = 'Content-Disposition: form-data; name="file"; filename="a/b.txt"\r\nContent-Type: text/plain'
const file = (content: Uint8Array | string): Buffer => part(fileHeaders, content)
const end = Buffer.from(`--${boundary}--\r\n`)

/** The same bytes in pieces of a few sizes in turn, which are overwritten once the next is asked for. */
async function* inPieces(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Buffer> {
  for (let at = 0, i = 0; at < bytes.length; i += 1) {
    const piece = Buffer.from(bytes.subarray(at, (at += sizes[i % sizes.length]!)))
    yield piece
    piece.fill(0)
  }
}

const read = async (form: Buffer, sizes: readonly number[] = [65_536], contentType = type) => {
  const files: FormFile[] = []
  const parts: Buffer[] = []
  for await (const bytes of fileOfForm(inPieces(form, sizes), contentType, (found) => files.push(found))) {
    parts.push(Buffer.from(bytes))
  }
  return { files, content: Buffer.concat(parts) }
}

// Much like the edge of a part, so that it is often mistaken for one for a while.
const edgy = fc.array(
  fc.oneof(fc.constantFrom('\r\n--edg', '\r\n', '--edge', '\r\n--ed\r\n'), fc.string({ unit: 'binary' })),
)

test('the content of the file comes out as it went in, however the form is cut into pieces', async () => {
  await fc.assert(
    fc.asyncProperty(edgy, fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }), async (texts, sizes) => {
      const content = Buffer.from(texts.join(''))
      fc.pre(!content.includes(`\r\n--${boundary}`) && !content.toString().startsWith(`--${boundary}`))
      const found = await read(Buffer.concat([file(content), end]), sizes)
      assert.deepEqual(found, { files: [{ name: 'b.txt', type: 'text/plain' }], content })
    }),
  )
})

test('a large file comes out whole', async () => {
  const content = Buffer.alloc(3_000_000, 'plimsoll')
  const found = await read(Buffer.concat([file(content), end]))
  assert.ok(found.content.equals(content))
})

const rejects = (law: string, form: Buffer, accepted: (error: unknown) => boolean, contentType = type): void => {
  test(law, async () => {
    for (const sizes of [[65_536], [1], [7, 3]]) await assert.rejects(read(form, sizes, contentType), accepted)
  })
}

const isMistake = (error: unknown): boolean => error instanceof InputError && /one file/.test(error.message)
const isMalformed = (error: unknown): boolean => error instanceof Failure && error.code === 'malformed-request'

const field = part('Content-Disposition: form-data; name="note"', 'x')
rejects('a form without a file is a mistake', end, isMistake)
rejects('a form with a second file is a mistake', Buffer.concat([file('a'), file('b'), end]), isMistake)
rejects('a field before the file is a mistake', Buffer.concat([field, file('a'), end]), isMistake)
rejects('a field after the file is a mistake', Buffer.concat([file('a'), field, end]), isMistake)

const isNoType = (error: unknown): boolean => error instanceof InputError && /a media type/.test(error.message)
for (const type of ['nonsense', 'text/\x01html', 'text/html\xe9', `text/${'x'.repeat(255)}`]) {
  const odd = part(`Content-Disposition: form-data; name="file"; filename="a"\r\nContent-Type: ${type}`, 'x')
  rejects(`a file of the type ${JSON.stringify(type.slice(0, 12))} is a mistake`, Buffer.concat([odd, end]), isNoType)
}

rejects('a form that ends early is malformed', file('a'), isMalformed)
rejects('a form that ends in its content is malformed', file('abcdefgh').subarray(0, -6), isMalformed)
rejects('a form that ends in the head of a part is malformed', Buffer.from('--edge\r\nContent-Disp'), isMalformed)
rejects('an empty form is malformed', Buffer.from('x'), isMalformed)
rejects('a form without a boundary is malformed', end, isMalformed, 'multipart/form-data')

test('bytes after the end of a form are passed over', async () => {
  const { content } = await read(Buffer.concat([file('a'), end, Buffer.alloc(100_000)]), [10])
  assert.equal(content.toString(), 'a')
})
