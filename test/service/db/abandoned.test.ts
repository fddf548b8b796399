import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { Abandoned, type Conveyor } from '../../../src/service/db/abandoned.ts'

/** A connection with some statements sent, whose server is told of cancels by hand. */
class Belt implements Conveyor {
  sent: number
  answered = 0
  /** The turns at which a cancel was asked for. */
  readonly asked: number[] = []
  readonly abandoned: Abandoned
  #told: (() => void) | undefined

  constructor(sent: number) {
    this.sent = sent
    this.abandoned = new Abandoned(this)
  }

  cancelOnServer(): Promise<void> {
    this.asked.push(this.answered)
    return new Promise((resolve) => (this.#told = resolve))
  }

  /** The server has been told. */
  async tell(): Promise<void> {
    this.#told?.()
    await settle()
  }

  answer(): void {
    this.answered++
    if (!this.abandoned.quiet) this.abandoned.goneOn()
  }
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const belt = (t: TestContext, sent: number): Belt => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  return new Belt(sent)
}

test('only the statement that the server is at is cancelled, the others when it is their turn', async (t) => {
  const it = belt(t, 4)
  it.abandoned.add(2)
  t.mock.timers.tick(1_000)
  assert.deepEqual(it.asked, [])
  it.answer()
  it.answer()
  t.mock.timers.tick(10)
  assert.deepEqual(it.asked, [2])
  await it.tell()
  it.answer()
  assert.ok(it.abandoned.quiet)
  t.mock.timers.tick(1_000)
  assert.deepEqual(it.asked, [2])
})

test('a statement that ends by itself at once is not cancelled', (t) => {
  const it = belt(t, 3)
  for (const turn of [0, 1, 2]) it.abandoned.add(turn)
  for (let turn = 0; turn < 3; turn++) {
    t.mock.timers.tick(1)
    it.answer()
  }
  t.mock.timers.tick(1_000)
  assert.deepEqual(it.asked, [])
  assert.ok(it.abandoned.quiet)
})

test('a cancel is asked for again until the statement has ended, one at a time, ever more patiently', async (t) => {
  const it = belt(t, 1)
  it.abandoned.add(0)
  const atMs: number[] = []
  for (let ms = 0; ms < 1_000; ms++) {
    t.mock.timers.tick(1)
    if (it.asked.length > atMs.length) atMs.push(ms)
    await it.tell()
  }
  const gapsMs = atMs.slice(1).map((ms, i) => ms - atMs[i]!)
  assert.deepEqual(gapsMs.slice(0, 7), [4, 8, 16, 32, 64, 100, 100])
  it.answer()
  t.mock.timers.tick(1_000)
  assert.equal(it.asked.length, atMs.length)
})

test('while the server has not been told, no other cancel is asked for', (t) => {
  const it = belt(t, 2)
  it.abandoned.add(0)
  it.abandoned.add(1)
  t.mock.timers.tick(10)
  it.answer()
  t.mock.timers.tick(1_000)
  assert.deepEqual(it.asked, [0])
})

test('what a cancel may have hit is what was sent before the server had been told', async (t) => {
  const it = belt(t, 2)
  assert.equal(it.abandoned.mayHaveHit(0), false)
  it.abandoned.add(0)
  assert.equal(it.abandoned.mayHaveHit(1), false)
  t.mock.timers.tick(10)
  it.answer()
  it.sent++
  assert.ok(it.abandoned.mayHaveHit(1) && it.abandoned.mayHaveHit(2))
  await it.tell()
  assert.ok(it.abandoned.mayHaveHit(1) && it.abandoned.mayHaveHit(2))
  assert.equal(it.abandoned.mayHaveHit(3), false)
})

test('it is quiet when what was abandoned has ended and the server has been told, in either order', async (t) => {
  const it = belt(t, 1)
  let quiet = false
  it.abandoned.add(0)
  void it.abandoned.untilQuiet().then(() => (quiet = true))
  t.mock.timers.tick(10)
  it.answer()
  await settle()
  assert.equal(quiet, false)
  await it.tell()
  assert.equal(quiet, true)
  it.sent++
  it.abandoned.add(1)
  quiet = false
  void it.abandoned.untilQuiet().then(() => (quiet = true))
  t.mock.timers.tick(10)
  await it.tell()
  assert.equal(quiet, false)
  it.answer()
  await settle()
  assert.equal(quiet, true)
})
