import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LogOutput } from '../../../src/service/telemetry/log-output.ts'
import { VirtualClock } from '../work/virtual-clock.ts'

const errno = (code: string): Error => Object.assign(new Error(code), { code })

/** A reader that takes at most `room` bytes, and fails as it is told. */
class Reader {
  readonly writes: string[] = []
  room = Infinity
  fails: string | undefined = undefined

  readonly write = (bytes: Buffer): number => {
    if (this.fails !== undefined) throw errno(this.fails)
    const taken = Math.min(bytes.length, this.room)
    if (taken === 0) throw errno('EAGAIN')
    this.room -= taken
    this.writes.push(bytes.toString('utf8', 0, taken))
    return taken
  }

  get text(): string {
    return this.writes.join('')
  }
}

const start = () => {
  const clock = new VirtualClock()
  const reader = new Reader()
  const dropped: number[] = []
  const slept: number[] = []
  const sleep = (ms: number): void => void slept.push(ms)
  const output = new LogOutput({ clock, write: reader.write, sleep, onDropped: (lines) => dropped.push(lines) })
  return { clock, reader, output, dropped, slept }
}

const line = (i: number): string => `{"line":${i}}\n`
const lines = (from: number, to: number): string => Array.from({ length: to - from }, (_, i) => line(from + i)).join('')

/** A thousand bytes. */
const longLine = `${'x'.repeat(999)}\n`

test('lines that come together are written together, 20 ms after the first', async () => {
  const { clock, reader, output } = start()
  output.write(line(0))
  await clock.advance(10)
  output.write(line(1))
  await clock.advance(9)
  assert.deepEqual(reader.writes, [])
  await clock.advance(1)
  assert.deepEqual(reader.writes, [lines(0, 2)])
})

test('what is written at once to a pipe is whole lines of at most 4096 bytes, or one line that is longer', async () => {
  const { clock, reader, output } = start()
  const longest = `${'é'.repeat(4_000)}\n`
  for (let i = 0; i < 1_000; i++) output.write(line(i))
  output.write(longest)
  output.write(line(1_000))
  await clock.advance(20)
  assert.equal(reader.text, lines(0, 1_000) + longest + line(1_000))
  for (const piece of reader.writes) {
    assert.ok(piece.endsWith('\n'))
    assert.ok(Buffer.byteLength(piece) <= 4_096 || piece === longest)
  }
})

test('a reader that does not read loses nothing until a mebibyte waits, and order is kept', async () => {
  const { clock, reader, output, dropped } = start()
  reader.room = 0
  for (let i = 0; i < 10_000; i++) output.write(line(i))
  await clock.advance(60_000)
  reader.room = 10
  await clock.advance(100)
  reader.room = Infinity
  await clock.advance(100)
  assert.equal(reader.text, lines(0, 10_000))
  assert.equal(output.dropped, 0)
  assert.deepEqual(dropped, [])
})

test('lines for which there is no room are dropped, counted, and told of when the reader reads again', async () => {
  const { clock, reader, output, dropped } = start()
  reader.room = 0
  for (let i = 0; i < 2_000; i++) output.write(longLine)
  assert.equal(output.dropped, 2_000 - 1_048)
  reader.room = Infinity
  await clock.advance(100)
  assert.equal(reader.text, longLine.repeat(1_048))
  assert.deepEqual(dropped, [2_000 - 1_048])
  output.write(line(1))
  await clock.advance(20)
  assert.ok(reader.text.endsWith(line(1)))
  assert.deepEqual(dropped, [2_000 - 1_048], 'told once')
})

test('a full pipe is tried again after 5 ms, then ever later, up to 100 ms', async () => {
  const { clock, output } = start()
  let tries = 0
  const counted = new LogOutput({
    clock,
    write: () => {
      tries++
      throw errno('EAGAIN')
    },
  })
  counted.write(line(0))
  await clock.advance(20)
  assert.equal(tries, 1)
  await clock.advance(5)
  assert.equal(tries, 2)
  await clock.advance(10)
  assert.equal(tries, 3)
  await clock.advance(10_000)
  assert.ok(tries > 90 && tries < 110, String(tries))
  assert.equal(output.dropped, 0)
})

test('a disk that is full for a while loses nothing', async () => {
  const { clock, reader, output } = start()
  reader.fails = 'ENOSPC'
  output.write(line(0))
  await clock.advance(1_000)
  reader.fails = undefined
  await clock.advance(100)
  assert.equal(reader.text, line(0))
})

test('without a reader all lines are counted as dropped, and nothing is tried or thrown any more', async () => {
  const { clock, reader, output } = start()
  reader.fails = 'EPIPE'
  for (let i = 0; i < 5; i++) output.write(longLine)
  await clock.advance(20)
  assert.equal(output.dropped, 5)
  reader.fails = undefined
  output.write(line(0))
  output.end(100)
  assert.equal(output.dropped, 6)
  assert.deepEqual(reader.writes, [])
})

test('the end writes what waits', () => {
  const { reader, output, slept } = start()
  output.write(line(0))
  output.end(100)
  assert.equal(reader.text, line(0))
  assert.deepEqual(slept, [])
})

test('the end waits for a reader that is slow, and for one that is stuck no longer than it may', () => {
  const { reader, output, slept } = start()
  for (let i = 0; i < 10; i++) output.write(longLine)
  reader.room = 0
  output.end(100)
  assert.equal(
    slept.reduce((sum, ms) => sum + ms),
    100,
  )
  reader.room = Infinity
  output.end(100)
  assert.equal(reader.text, longLine.repeat(10))
})
