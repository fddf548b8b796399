import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import { serialize } from 'pg-protocol'
import { type Flush, Outbox, type Sink } from '../../../src/service/db/outbox.ts'
import type { Value } from '../../../src/service/db/statement.ts'

/** A socket that keeps what it was given, as it was then and by reference. */
class Tape implements Sink {
  writable = true
  readonly writes: Buffer[] = []
  readonly copies: Buffer[] = []

  write(bytes: Buffer): boolean {
    this.writes.push(bytes)
    this.copies.push(Buffer.from(bytes))
    return true
  }

  get bytes(): Buffer {
    return Buffer.concat(this.writes)
  }
}

const open = (flush: Flush): { tape: Tape; outbox: Outbox } => {
  const tape = new Tape()
  return { tape, outbox: new Outbox(tape, flush) }
}

/**
 * What pg writes for a Bind, without the format code that it adds for each parameter and for all results: with none,
 * everything is text, and that is what its codes say. Layout: length, portal, name, codes, values, result codes.
 */
const bindOf = (name: string, values: readonly Value[]): Buffer => {
  const theirs = serialize.bind({ statement: name, values: values as string[], valueMapper: textOf })
  const codes = 1 + 4 + 1 + Buffer.byteLength(name) + 1
  const head = Buffer.from(theirs.subarray(0, codes + 2))
  head.writeInt16BE(0, codes)
  head.writeInt32BE(theirs.readInt32BE(1) - 2 * values.length - 2, 1)
  return Buffer.concat([head, theirs.subarray(codes + 2 + 2 * values.length, -4), Buffer.from([0, 0])])
}

const textOf = (value: Value): string | null => (value === null ? null : String(value))

type Message =
  | { readonly kind: 'execute'; readonly name: string; readonly values: readonly Value[] }
  | { readonly kind: 'parse'; readonly name: string; readonly text: string }
  | { readonly kind: 'close'; readonly name: string }

const put = (outbox: Outbox, message: Message): void => {
  if (message.kind === 'execute') outbox.execute(message.name, message.values)
  else if (message.kind === 'parse') outbox.parse(message.name, message.text)
  else outbox.close(message.name)
}

const expected = (message: Message): Buffer => {
  if (message.kind === 'parse') return serialize.parse({ name: message.name, text: message.text, types: [] })
  if (message.kind === 'close') return serialize.close({ type: 'S', name: message.name })
  return Buffer.concat([bindOf(message.name, message.values), serialize.execute(), serialize.sync()])
}

const anyText = (options: fc.StringConstraints = {}): fc.Arbitrary<string> => fc.string({ unit: 'binary', ...options })
// A name ends with a zero byte, and pg warns of one over 63 characters.
const name = anyText({ minLength: 1, maxLength: 20 }).map((text) => text.replaceAll('\0', '0'))
const longText = fc
  .tuple(fc.constantFrom('x', 'é', '€', '🚢'), fc.integer({ min: 1, max: 80_000 }))
  .map(([unit, count]) => unit.repeat(count))
const value: fc.Arbitrary<Value> = fc.oneof(
  { weight: 10, arbitrary: anyText() },
  { weight: 5, arbitrary: fc.oneof(fc.integer(), fc.double()) },
  { weight: 5, arbitrary: fc.constant(null) },
  { weight: 1, arbitrary: longText },
)
const message: fc.Arbitrary<Message> = fc.oneof(
  fc.record({ kind: fc.constant('execute' as const), name, values: fc.array(value, { maxLength: 6 }) }),
  fc.record({ kind: fc.constant('parse' as const), name, text: fc.oneof(name, longText) }),
  fc.record({ kind: fc.constant('close' as const), name }),
)
const messages = fc.array(message, { minLength: 1, maxLength: 30 })

test('messages are byte for byte those of pg, whatever names and values, in one turn or in several', async () => {
  await fc.assert(
    fc.asyncProperty(
      messages,
      fc.constantFrom('at-once', 'after-ready-events'),
      fc.nat(29),
      async (all, flush, pause) => {
        const { tape, outbox } = open(flush)
        for (const [i, each] of all.entries()) {
          put(outbox, each)
          if (i === pause) await setImmediate()
        }
        outbox.flush()
        assert.ok(tape.bytes.equals(Buffer.concat(all.map(expected))))
      },
    ),
    { seed: 1, numRuns: 200 },
  )
})

test('what was written is never altered by what comes later', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(messages, { minLength: 2, maxLength: 8 }), async (turns) => {
      const { tape, outbox } = open('after-ready-events')
      for (const turn of turns) {
        for (const each of turn) put(outbox, each)
        outbox.flush()
      }
      assert.deepEqual(
        tape.writes.map((bytes, i) => bytes.equals(tape.copies[i]!)),
        tape.writes.map(() => true),
      )
    }),
    { seed: 2, numRuns: 60 },
  )
})

test('many more statements than fit into one buffer keep their order and their bytes', () => {
  const { tape, outbox } = open('at-once')
  const all = Array.from(
    { length: 5_000 },
    (_, i): Message => ({ kind: 'execute', name: 's', values: [i, 'x'.repeat(i % 97)] }),
  )
  for (const each of all) put(outbox, each)
  assert.ok(tape.bytes.equals(Buffer.concat(all.map(expected))))
  assert.ok(tape.writes.every((bytes, i) => bytes.equals(tape.copies[i]!)))
})

test('statements of one turn leave together, after the events that are ready', async (t) => {
  const { tape, outbox } = open('after-ready-events')
  const later = t.mock.method(globalThis, 'setImmediate')
  for (let i = 0; i < 100; i++) outbox.execute('s', [i])
  await Promise.resolve()
  assert.equal(tape.writes.length, 0)
  assert.equal(later.mock.callCount(), 1)
  await setImmediate()
  assert.equal(tape.writes.length, 1)
  outbox.execute('s', [100])
  await setImmediate()
  assert.equal(tape.writes.length, 2)
  await setImmediate()
  assert.equal(tape.writes.length, 2)
})

test('flushed at once, each statement leaves with its Parse before the call returns', () => {
  const { tape, outbox } = open('at-once')
  outbox.parse('s', 'select 1')
  assert.equal(tape.writes.length, 0)
  outbox.execute('s', [])
  assert.equal(tape.writes.length, 1)
  outbox.execute('s', [])
  assert.equal(tape.writes.length, 2)
})

test('nothing is written to a connection that is gone', () => {
  const { tape, outbox } = open('at-once')
  tape.writable = false
  outbox.execute('s', [])
  assert.equal(tape.writes.length, 0)
})
