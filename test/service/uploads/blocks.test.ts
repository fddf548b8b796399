import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { blocksOf } from '../../../src/service/uploads/blocks.ts'

const contents = fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 20 })

/** Chunks that are overwritten once the next is asked for. */
async function* fleeting(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) {
    const copy = chunk.slice()
    yield copy
    copy.fill(0xff)
  }
}

test('blocks in a row are the content; all but the last are full, and exactly one is the last', async () => {
  await fc.assert(
    fc.asyncProperty(contents, fc.integer({ min: 1, max: 30 }), async (chunks, blockBytes) => {
      const blocks: Buffer[] = []
      const marks: boolean[] = []
      for await (const { bytes, isLast } of blocksOf(fleeting(chunks), blockBytes)) {
        blocks.push(Buffer.from(bytes))
        marks.push(isLast)
      }
      assert.deepEqual(Buffer.concat(blocks), Buffer.concat(chunks))
      assert.ok(blocks.slice(0, -1).every(({ length }) => length === blockBytes))
      assert.deepEqual(marks, [...blocks.slice(1).map(() => false), true])
    }),
  )
})

test('a block stays as it is until the next but one is asked for, and no more than two are ever made', async () => {
  const chunks = Array.from({ length: 50 }, (_, i) => Buffer.alloc(7, i))
  const memory = new Set<ArrayBufferLike>()
  let before: { bytes: Buffer; copy: Buffer } | undefined
  for await (const { bytes } of blocksOf(fleeting(chunks), 16)) {
    if (before !== undefined) assert.deepEqual(before.bytes, before.copy)
    before = { bytes, copy: Buffer.from(bytes) }
    memory.add(bytes.buffer)
  }
  assert.equal(memory.size, 2)
})
