import type { BusboyInstance } from '@fastify/busboy'
import type { ProblemCode } from '../../contract/problems.ts'
import { Failure, InputError } from '../../kit/errors.ts'
import { isMediaType, noMediaType } from './media-type.ts'

/** What a part of a form says of its file. */
export type FormFile = { readonly name: string | undefined; readonly type: string }

const accepted = 'a form with one file and nothing else: one request makes one upload'

/**
 * The content of the one file in a form (`multipart/form-data`, RFC 7578). `found` is called before its first byte.
 *
 * One file for each request, because `Location`, `ETag` and "all or nothing" are about one thing; a client with several
 * sends them side by side. Throws `malformed-request`, or `InputError` for a form without a file or with more than one,
 * and for a file of no media type.
 */
export async function* fileOfForm(
  form: AsyncIterable<Buffer>,
  contentType: string,
  found: (file: FormFile) => void,
): AsyncGenerator<Buffer> {
  const parser = new FormParser(await openParser(contentType), found)
  for await (const chunk of form) {
    await parser.write(chunk)
    yield* parser.taken()
  }
  await parser.end()
  yield* parser.taken()
}

const openParser = async (contentType: string): Promise<BusboyInstance> => {
  const { default: busboy } = await import('@fastify/busboy')
  try {
    return new busboy.Busboy({
      headers: { 'content-type': contentType },
      limits: { files: 1, fields: 0, headerPairs: 64 },
    })
  } catch (error) {
    throw malformed(error)
  }
}

/**
 * Busboy as a function from chunk to chunk: it is given one when one is asked for, and its file flows, so that neither
 * of the two holds back the other and no more than a chunk is ever in between.
 */
class FormParser {
  readonly #busboy: BusboyInstance
  #parts: Buffer[] = []
  #files = 0
  #failure: Error | undefined
  /** Rejects the call that is waiting. */
  #reject: (error: Error) => void = () => {}

  constructor(busboy: BusboyInstance, found: (file: FormFile) => void) {
    this.#busboy = busboy
    busboy.on('file', (_field, stream, name: string | undefined, _encoding, type) => {
      this.#files += 1
      if (isMediaType(type)) found({ name, type })
      else this.#fail(noMediaType(type))
      stream.on('data', (part: Buffer) => this.#parts.push(part))
      // It says what the parser's own error says.
      stream.on('error', () => {})
    })
    busboy.on('filesLimit', () => this.#fail(formMistake('a second file')))
    busboy.on('fieldsLimit', () => this.#fail(formMistake('a field that is no file')))
    busboy.on('error', (error) => this.#fail(malformed(error)))
  }

  write(chunk: Buffer): Promise<void> {
    return this.#until((done) => this.#busboy.write(chunk, () => done()))
  }

  async end(): Promise<void> {
    await this.#until((done) => this.#busboy.once('finish', done).end())
    if (this.#files === 0) throw formMistake(undefined)
  }

  /** The content that has come to light since the last call. */
  taken(): Buffer[] {
    const parts = this.#parts
    this.#parts = []
    return parts
  }

  async #until(start: (done: () => void) => void): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#reject = reject
      start(resolve)
    })
    if (this.#failure !== undefined) throw this.#failure
  }

  #fail(failure: Error): void {
    this.#failure ??= failure
    this.#reject(this.#failure)
  }
}

const formMistake = (value: string | undefined): InputError => new InputError([{ field: 'body', value, accepted }])

const malformed = (cause: unknown): Failure<ProblemCode> =>
  new Failure('malformed-request', { detail: `the form cannot be read: ${(cause as Error).message}`, cause })
