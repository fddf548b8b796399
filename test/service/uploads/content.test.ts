import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import fc from 'fast-check'
import { Failure } from '../../../src/kit/errors.ts'
import { atMost, Meter, patiently } from '../../../src/service/uploads/content.ts'
import { VirtualClock } from '../work/virtual-clock.ts'

const isFailure =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof Failure && error.code === code

const open = () => {
  const source = new PassThrough()
  const clock = new VirtualClock()
  const stop = new AbortController()
  const bytes = patiently(source, { idleTimeoutMs: 1_000, cancellation: stop.signal, clock })
  return { source, clock, stop, bytes }
}

const listeners = (source: PassThrough): number =>
  ['readable', 'end', 'error', 'close'].reduce((sum, event) => sum + source.listenerCount(event), 0)

const all = async (bytes: AsyncIterable<Buffer>): Promise<Buffer> => {
  const parts: Buffer[] = []
  for await (const part of bytes) parts.push(Buffer.from(part))
  return Buffer.concat(parts)
}

test('all bytes come, in their order, and nothing is left on the stream or the clock', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ minLength: 1 })), async (chunks) => {
      const { source, clock, bytes } = open()
      const before = listeners(source)
      const received = all(bytes)
      for (const chunk of chunks) {
        source.write(Buffer.from(chunk))
        await clock.advance(999)
      }
      source.end()
      assert.deepEqual(await received, Buffer.concat(chunks))
      await clock.advance(0)
      assert.deepEqual([clock.pending, listeners(source)], [0, before])
    }),
    { numRuns: 20 },
  )
})

test('no byte for the idle timeout is a request-timeout, and the stream stays open for an answer', async () => {
  const { source, clock, bytes } = open()
  source.write('x')
  const received = assert.rejects(all(bytes), isFailure('request-timeout'))
  await clock.advance(1_001)
  await received
  assert.deepEqual([source.destroyed, clock.pending], [false, 0])
})

test('a cancellation ends the wait at once with its reason, also one that came before', async () => {
  for (const early of [false, true]) {
    const { source, clock, stop, bytes } = open()
    const reason = new Error('enough')
    if (early) stop.abort(reason)
    const received = assert.rejects(all(bytes), reason)
    await clock.advance(1)
    stop.abort(reason)
    await received
    assert.deepEqual([source.destroyed, clock.pending], [false, 0])
  }
})

test('a stream that is destroyed half-way is a client that has gone', async () => {
  const { source, clock, bytes } = open()
  const received = assert.rejects(all(bytes), isFailure('client-closed-request'))
  source.write('x')
  await clock.advance(1)
  source.destroy()
  await received
})

test('the time that the consumer takes is not the idle time of the client', async () => {
  const { source, clock, bytes } = open()
  source.write('one')
  assert.equal(String((await bytes.next()).value), 'one')
  await clock.advance(10_000)
  source.end('two')
  assert.equal(String((await bytes.next()).value), 'two')
  assert.equal((await bytes.next()).done, true)
})

test('the memory of a chunk is freed once the next is asked for, unless it is shared', async () => {
  const { source, bytes } = open()
  const own = Buffer.alloc(100_000)
  const shared = Buffer.alloc(100_000).subarray(1)
  source.write(own)
  await bytes.next()
  source.write(shared)
  await bytes.next()
  source.end()
  assert.equal((await bytes.next()).done, true)
  assert.deepEqual([own.length, shared.length], [0, 99_999])
})

async function* chunksOf(lengths: readonly number[]): AsyncGenerator<Buffer> {
  for (const length of lengths) yield Buffer.alloc(length)
}

test('as many bytes as are accepted pass, and one more is body-too-large', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(10)), async (lengths) => {
      const sum = lengths.reduce((a, b) => a + b, 0)
      assert.equal((await all(atMost(chunksOf(lengths), sum))).length, sum)
      if (sum > 0) await assert.rejects(all(atMost(chunksOf(lengths), sum - 1)), isFailure('body-too-large'))
    }),
  )
})

test('a meter counts and hashes what passes, and remembers what failed', async () => {
  const meter = await Meter.start()
  await all(meter.through(chunksOf([3, 4])))
  assert.deepEqual([meter.bytes, meter.failure], [7, undefined])
  assert.equal(meter.sha256(), createHash('sha256').update(Buffer.alloc(7)).digest('hex'))
  const failing = await Meter.start()
  await assert.rejects(all(failing.through(atMost(chunksOf([9]), 1))), isFailure('body-too-large'))
  assert.ok(isFailure('body-too-large')(failing.failure))
})
