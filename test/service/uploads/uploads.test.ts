import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { v7 as uuidv7 } from 'uuid'
import { Failure } from '../../../src/kit/errors.ts'
import { latestId, madeAtMs, type Storage, type Upload } from '../../../src/service/uploads/upload.ts'
import { type Incoming, Uploads } from '../../../src/service/uploads/uploads.ts'
import { VirtualClock } from '../work/virtual-clock.ts'

/** Keeps uploads in memory, and fails where it is told to. */
class MemoryStorage implements Storage {
  readonly staged = new Map<string, Buffer>()
  readonly entries = new Map<string, Upload>()
  failure: Error | undefined

  async stage(id: string, content: AsyncIterable<Uint8Array>): Promise<void> {
    const parts: Buffer[] = []
    for await (const chunk of content) {
      parts.push(Buffer.from(chunk))
      this.staged.set(id, Buffer.concat(parts))
      this.#fail()
    }
  }

  async commit(upload: Upload): Promise<void> {
    this.entries.set(upload.id, upload)
    this.#fail()
  }

  async discard(id: string): Promise<void> {
    await this.remove(id)
  }

  async find(id: string): Promise<Upload | undefined> {
    this.#fail()
    return this.entries.get(id)
  }

  async open(id: string): Promise<Readable> {
    return Readable.from([this.staged.get(id)!])
  }

  async newest(): Promise<string[]> {
    return [...this.entries.keys(), latestId]
  }

  async remove(id: string): Promise<void> {
    this.staged.delete(id)
    this.entries.delete(id)
  }

  close(): void {}

  #fail(): void {
    if (this.failure !== undefined) throw this.failure
  }
}

const limits = { storage: '', s3: { endpoint: undefined, region: '' }, maxBytes: 10, idleTimeoutMs: 1_000 }

const open = () => {
  const storage = new MemoryStorage()
  const clock = new VirtualClock()
  const told: unknown[] = []
  const uploads = new Uploads(limits, { clock, storage, onFailure: (error) => told.push(error) })
  return { storage, clock, told, uploads }
}

const patient = new AbortController().signal
const raw = (text: string, more: Partial<Incoming> = {}): Incoming => ({
  source: Readable.from([Buffer.from(text)]),
  type: 'text/plain',
  isForm: false,
  ...more,
})

const isFailure =
  (code: string, detail = /(?:)/) =>
  (error: unknown): boolean =>
    error instanceof Failure && error.code === code && detail.test(error.detail ?? '')

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

const assertEmpty = ({ staged, entries }: MemoryStorage): void => assert.deepEqual([staged.size, entries.size], [0, 0])

test('what was received is found, with its size, hash, name and the time of its id', async () => {
  const { uploads } = open()
  const upload = await uploads.receive(raw('hello', { name: '../x.txt', sha256: sha256('hello') }), patient)
  const { id, createdAt } = upload
  const expected = { id, name: 'x.txt', type: 'text/plain', size: 5, sha256: sha256('hello'), createdAt }
  assert.deepEqual(await uploads.find(id, patient), expected)
  assert.equal(Date.parse(createdAt), madeAtMs(id))
  assert.ok(Math.abs(Date.now() - madeAtMs(uuidv7())) < 1_000)
})

test('content that is announced too long is refused before a byte is read, and other content at its first byte too many', async () => {
  const { uploads, storage } = open()
  const source = new Readable({ read: () => assert.fail('it was read') })
  await assert.rejects(
    uploads.receive(raw('', { source, announcedBytes: 11 }), patient),
    isFailure('body-too-large', /10/),
  )
  await assert.rejects(uploads.receive(raw('x'.repeat(11)), patient), isFailure('body-too-large', /10/))
  assertEmpty(storage)
  assert.equal((await uploads.receive(raw('x'.repeat(10)), patient)).size, 10)
})

test('content of another digest than announced is refused and leaves nothing', async () => {
  const { uploads, storage } = open()
  const received = uploads.receive(raw('hello', { sha256: sha256('other') }), patient)
  await assert.rejects(received, isFailure('malformed-request', new RegExp(sha256('hello'))))
  assertEmpty(storage)
})

test('an upload that is cancelled leaves nothing, and its reason', async () => {
  const { uploads, storage } = open()
  const stop = new AbortController()
  const source = new Readable({ read() {} })
  source.push('half')
  const received = uploads.receive(raw('', { source }), stop.signal)
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(storage.staged.size, 1)
  stop.abort(new Failure('client-closed-request'))
  await assert.rejects(received, isFailure('client-closed-request'))
  assertEmpty(storage)
})

test('a cancellation that comes with the last byte leaves nothing', async () => {
  const { uploads, storage } = open()
  const stop = new AbortController()
  const source = Readable.from([Buffer.from('all')])
  source.once('end', () => stop.abort(new Failure('deadline-exceeded')))
  await assert.rejects(uploads.receive(raw('', { source }), stop.signal), isFailure('deadline-exceeded'))
  assertEmpty(storage)
})

test('a storage that fails is storage-unavailable, leaves nothing, and says where there is no space', async () => {
  const { uploads, storage } = open()
  for (const [code, detail] of [
    ['ENOSPC', /no space left/],
    ['EIO', /try again/],
  ] as const) {
    storage.failure = Object.assign(new Error('a secret path'), { code })
    const received = uploads.receive(raw('hello'), patient)
    await assert.rejects(received, isFailure('storage-unavailable', detail))
    assertEmpty(storage)
  }
})

test('what fails in the commit leaves nothing', async () => {
  const { uploads, storage } = open()
  const commit = storage.commit.bind(storage)
  storage.commit = (upload) => {
    storage.failure = new Error('down')
    return commit(upload)
  }
  await assert.rejects(uploads.receive(raw('hello'), patient), isFailure('storage-unavailable'))
  assertEmpty(storage)
})

test('a storage that goes on failing is told of once in ten seconds', async () => {
  const { uploads, storage, clock, told } = open()
  storage.failure = new Error('down')
  for (let second = 0; second < 25; second += 1) {
    await assert.rejects(uploads.find(uuidv7(), patient), isFailure('storage-unavailable'))
    await clock.advance(1_000)
  }
  assert.equal(told.length, 3)
})

test('a list leaves out what was removed meanwhile, and goes on from the last id where there may be more', async () => {
  const { uploads } = open()
  const { id } = await uploads.receive(raw('x'), patient)
  const page = await uploads.list(latestId, 2, patient)
  assert.deepEqual([page.uploads.map((upload) => upload.id), page.next], [[id], latestId])
  assert.equal((await uploads.list(latestId, 3, patient)).next, undefined)
})

test('the end waits for what is being received', async () => {
  const { uploads, storage } = open()
  const source = new Readable({ read() {} })
  const received = assert.rejects(uploads.receive(raw('', { source }), patient), isFailure('client-closed-request'))
  let ended = false
  const end = uploads[Symbol.asyncDispose]().then(() => (ended = true))
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(ended, false)
  source.destroy()
  await Promise.all([received, end])
  assertEmpty(storage)
})
