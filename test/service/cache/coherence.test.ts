import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Bus, BusListener } from '../../../src/service/cache/bus.ts'
import { keysOf, messageOf, messagesOf, mostKeysPerMessage } from '../../../src/service/cache/bus.ts'
import { Coherence } from '../../../src/service/cache/coherence.ts'
import { VirtualClock } from '../work/virtual-clock.ts'

/** A replica whose memory, shared level and bus write down what is done to them, and fail where the test says so. */
const make = () => {
  const clock = new VirtualClock()
  const done: string[] = []
  const failing = new Set<string>()
  const held = new Set<string>()
  const holding: (() => void)[] = []
  const does = async (what: string, keys: readonly string[]): Promise<void> => {
    done.push(`${what} ${keys.join(' ')}`)
    if (held.has(what)) await new Promise<void>((resolve) => holding.push(resolve))
    if (failing.has(what)) throw new Error(`${what} fails`)
  }
  let listener: BusListener | undefined
  const bus: Bus = {
    open: async (given) => void (listener = given),
    publish: (keys) => does('publish', keys),
    close: () => Promise.resolve(),
  }
  const memory = {
    invalidate: (key: string) => void done.push(`forget ${key}`),
    suspend: () => void done.push('suspend'),
    resume: () => void done.push('resume'),
  }
  const shared = { remove: (keys: readonly string[]) => does('remove', keys) }
  const events: string[] = []
  const onEvent = (event: string): void => void events.push(event)
  const coherence = new Coherence({ memory, shared, bus, clock, onEvent })
  const take = (): string[] => done.splice(0)
  return { coherence, clock, failing, held, holding, events, take, heard: () => listener! }
}

test('nothing is kept from the start, and while the bus is not up', async () => {
  const { coherence, events, take, heard } = make()
  assert.deepEqual(take(), ['suspend'])
  await coherence.open()
  assert.deepEqual(take(), [])
  heard().onUp()
  heard().onGap(new Error('lost'))
  heard().onUp()
  assert.deepEqual(take(), ['resume', 'suspend', 'resume'])
  assert.deepEqual(events, ['coherent', 'incoherent', 'coherent'])
})

test('keys that others have changed are forgotten', async () => {
  const { coherence, take, heard } = make()
  await coherence.open()
  take()
  heard().onKeys(['a', 'b'])
  assert.deepEqual(take(), ['forget a', 'forget b'])
})

test('a change is forgotten here, then in the shared level, then told to the others; until then it is suspect', async () => {
  const { coherence, take, held, holding } = make()
  take()
  held.add('publish')
  const changed = coherence.changed('a')
  assert.ok(coherence.isSuspect('a') && !coherence.isSuspect('b'))
  await Promise.resolve()
  await Promise.resolve()
  assert.deepEqual(take(), ['forget a', 'remove a', 'publish a'])
  holding.shift()!()
  await changed
  assert.ok(!coherence.isSuspect('a'))
})

test('what cannot be removed from the shared level is not told, for others would read it there again', async () => {
  const { coherence, take, failing } = make()
  take()
  failing.add('remove')
  await coherence.changed('a')
  assert.deepEqual(take(), ['forget a', 'remove a'])
  assert.ok(coherence.isSuspect('a'))
})

test('a change that could not be told does not fail; it is tried again every second until it is told', async () => {
  const { coherence, clock, take, failing } = make()
  failing.add('publish')
  await coherence.changed('a')
  await clock.advance(500)
  await coherence.changed('b')
  take()
  await clock.advance(499)
  assert.deepEqual(take(), [])
  await clock.advance(1)
  assert.deepEqual(take(), ['remove a b', 'publish a b'])
  await clock.advance(1_000)
  assert.deepEqual(take(), ['remove a b', 'publish a b'])
  failing.clear()
  await clock.advance(1_000)
  assert.ok(!coherence.isSuspect('a') && !coherence.isSuspect('b'))
  take()
  await clock.advance(10_000)
  assert.deepEqual(take(), [])
  assert.equal(clock.pending, 0)
})

test('that one change was told does not settle a later one of the same key', async () => {
  const { coherence, held, holding } = make()
  held.add('publish')
  const first = coherence.changed('a')
  const second = coherence.changed('a')
  await Promise.resolve()
  await Promise.resolve()
  holding.shift()!()
  await first
  assert.ok(coherence.isSuspect('a'))
  holding.shift()!()
  await second
  assert.ok(!coherence.isSuspect('a'))
})

test('many owed changes are told in messages of a bounded size', async () => {
  const { coherence, clock, take, failing } = make()
  failing.add('publish')
  for (let i = 0; i < 250; i++) await coherence.changed(`${i}`)
  failing.clear()
  take()
  await clock.advance(1_000)
  const sizes = take().map((line) => line.split(' ').length - 1)
  assert.deepEqual(sizes, [100, 100, 100, 100, 50, 50])
})

test('of owed changes the oldest are given up beyond 100,000', async () => {
  const { coherence, failing } = make()
  failing.add('remove')
  for (let i = 0; i < 100_002; i++) await coherence.changed(`${i}`)
  assert.ok(!coherence.isSuspect('0') && !coherence.isSuspect('1') && coherence.isSuspect('2'))
  await coherence[Symbol.asyncDispose]()
})

test('who has been disposed of tries no more', async () => {
  const { coherence, clock, failing } = make()
  failing.add('publish')
  await coherence.changed('a')
  await coherence[Symbol.asyncDispose]()
  assert.equal(clock.pending, 0)
  await coherence.changed('b')
  assert.equal(clock.pending, 0)
})

test('a message is read by all but its sender, and always fits into a NOTIFY', () => {
  const uuid = '01900000-0000-7000-8000-000000000000'
  assert.deepEqual(keysOf(messageOf('me', ['a', 'b']), 'you'), ['a', 'b'])
  assert.deepEqual(keysOf(messageOf('me', ['a', 'b']), 'me'), [])
  const messages = messagesOf(
    uuid,
    Array.from({ length: 2.5 * mostKeysPerMessage }, () => uuid),
  )
  assert.deepEqual(
    messages.map((message) => keysOf(message, 'you').length),
    [mostKeysPerMessage, mostKeysPerMessage, mostKeysPerMessage / 2],
  )
  assert.ok(messages.every((message) => message.length < 8_000))
})
