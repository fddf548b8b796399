import assert from 'node:assert/strict'
import { buffer } from 'node:stream/consumers'
import { test, type TestContext } from 'node:test'
import { v7 as uuidv7 } from 'uuid'
import { latestId, type Storage, type Upload } from '../../../src/service/uploads/upload.ts'

/** A storage of its own for a test, and the names of everything in it. */
export type OpenStorage = (t: TestContext) => Promise<{ storage: Storage; names: () => Promise<string[]> }>

export type StorageLaws = { readonly open: OpenStorage; readonly skip?: false | string }

const entry = (id: string, size: number): Upload => ({
  id,
  name: 'x',
  type: 'text/plain',
  size,
  sha256: '00',
  createdAt: '2026-01-01T00:00:00.000Z',
})

/** Chunks whose memory is used again once the next is asked for. */
async function* fleeting(content: Buffer, chunkBytes = 65_536): AsyncGenerator<Uint8Array> {
  const chunk = Buffer.alloc(chunkBytes)
  for (let at = 0; at < content.length; at += chunkBytes) {
    yield chunk.subarray(0, content.copy(chunk, 0, at, at + chunkBytes))
  }
}

const put = async (storage: Storage, content: Buffer): Promise<string> => {
  const id = uuidv7()
  await storage.stage(id, fleeting(content), content.length)
  await storage.commit(entry(id, content.length))
  return id
}

const readAll = async (storage: Storage, id: string, start: number, end: number): Promise<Buffer> => {
  const stream = await storage.open(id, { start, end })
  assert.ok(stream !== undefined)
  return buffer(stream)
}

/** What holds for every place that keeps uploads. */
export const storageLaws = (name: string, { open, skip = false }: StorageLaws): void => {
  test(`${name}: content comes back as it was, whole and in ranges, of any size`, { skip }, async (t) => {
    const { storage } = await open(t)
    // S3 is given parts of 5 MiB.
    for (const size of [1, 100_000, 5 * 1024 ** 2, 12_000_000]) {
      const content = Buffer.alloc(size, 'all of this content')
      const id = await put(storage, content)
      assert.deepEqual(await storage.find(id), entry(id, size))
      assert.ok((await readAll(storage, id, 0, size - 1)).equals(content))
      const [start, end] = [size >> 1, size - 1]
      assert.ok((await readAll(storage, id, start, end)).equals(content.subarray(start)))
    }
  })

  test(
    `${name}: what is staged is not there until it is committed, and discarding leaves nothing`,
    { skip },
    async (t) => {
      const { storage, names } = await open(t)
      const id = uuidv7()
      await storage.stage(id, fleeting(Buffer.alloc(100)), 100)
      assert.deepEqual([await storage.find(id), await storage.newest(latestId, 10)], [undefined, []])
      await storage.discard(id)
      assert.deepEqual(await names(), [])
    },
  )

  test(`${name}: content that fails leaves nothing, and its own error`, { skip }, async (t) => {
    const { storage, names } = await open(t)
    for (const size of [0, 100, 12_000_000]) {
      const id = uuidv7()
      const broken = (async function* () {
        yield* fleeting(Buffer.alloc(size))
        throw new RangeError('broken')
      })()
      await assert.rejects(storage.stage(id, broken, 1e9), RangeError)
      await storage.discard(id)
      assert.deepEqual(await names(), [])
    }
  })

  test(`${name}: nothing is found, opened, discarded or removed where nothing is`, { skip }, async (t) => {
    const { storage } = await open(t)
    const id = uuidv7()
    assert.equal(await storage.find(id), undefined)
    assert.equal(await storage.open(id, { start: 0, end: 1 }), undefined)
    await storage.discard(id)
    await storage.remove(id)
    assert.deepEqual(await storage.newest(latestId, 10), [])
  })

  test(`${name}: what is removed is gone without a trace, and the others stay`, { skip }, async (t) => {
    const { storage, names } = await open(t)
    const kept = await put(storage, Buffer.from('kept'))
    const before = await names()
    const id = await put(storage, Buffer.from('gone'))
    await storage.remove(id)
    assert.equal(await storage.find(id), undefined)
    assert.deepEqual(await names(), before)
    assert.equal((await readAll(storage, kept, 0, 3)).toString(), 'kept')
  })

  test(`${name}: pages in a row are all uploads, newest first`, { skip }, async (t) => {
    const { storage } = await open(t)
    const ids: string[] = []
    for (let i = 0; i < 7; i += 1) ids.unshift(await put(storage, Buffer.from('x')))
    const seen: string[] = []
    for (let page = await storage.newest(latestId, 3); page.length > 0; page = await storage.newest(seen.at(-1)!, 3)) {
      assert.ok(page.length <= 3)
      seen.push(...page)
    }
    assert.deepEqual(seen, ids)
  })
}
