import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Channel, type ChannelEvents, NotifyBus } from '../../../src/service/cache/notify-bus.ts'

/** A channel whose messages are out when the test says so. */
class SlowChannel implements Channel {
  readonly sent: string[] = []
  readonly #waiting: PromiseWithResolvers<void>[] = []
  ended = false

  notify(message: string): Promise<void> {
    this.sent.push(message)
    const waiting = Promise.withResolvers<void>()
    this.#waiting.push(waiting)
    return waiting.promise
  }

  async end(): Promise<void> {
    this.ended = true
  }

  /** The first message that waits is out, or lost. */
  async settle(error?: Error): Promise<void> {
    const first = this.#waiting.shift()!
    if (error === undefined) first.resolve()
    else first.reject(error)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

const open = async () => {
  const channel = new SlowChannel()
  let events: ChannelEvents | undefined
  const listen = async (given: ChannelEvents): Promise<Channel> => {
    events = given
    return channel
  }
  const bus = new NotifyBus({ listen, sender: 'me' })
  const heard: (readonly string[])[] = []
  await bus.open({ onKeys: (keys) => heard.push(keys), onUp: () => {}, onGap: () => {} })
  return { bus, channel, heard, events: events! }
}

test('what changes while a message is under way goes out together in the next, each key once', async () => {
  const { bus, channel } = await open()
  const first = bus.publish(['a'])
  await Promise.resolve()
  await Promise.resolve()
  const rest = ['b', 'c', 'b'].map((key) => bus.publish([key]))
  assert.deepEqual(channel.sent, ['me a'])
  await channel.settle()
  await first
  assert.deepEqual(channel.sent, ['me a', 'me b c'])
  await channel.settle()
  await Promise.all(rest)
})

test('a message that is lost fails those who wait for it, not those of the next', async () => {
  const { bus, channel } = await open()
  const lost = bus.publish(['a'])
  lost.catch(() => {})
  await Promise.resolve()
  await Promise.resolve()
  const next = bus.publish(['b'])
  await channel.settle(new Error('lost'))
  await assert.rejects(lost, /lost/)
  await channel.settle()
  await next
})

test('nothing is published before the channel is open', async () => {
  const bus = new NotifyBus({ listen: () => Promise.reject(new Error('unused')), sender: 'me' })
  await assert.rejects(bus.publish(['a']), /not open/)
})

test('a channel that opens after the end is ended at once', async () => {
  const channel = new SlowChannel()
  const opened = Promise.withResolvers<Channel>()
  const bus = new NotifyBus({ listen: () => opened.promise, sender: 'me' })
  const opening = bus.open({ onKeys: () => {}, onUp: () => {}, onGap: () => {} })
  await bus.close()
  opened.resolve(channel)
  await opening
  assert.ok(channel.ended)
})

test("others' messages are heard, one's own are not news", async () => {
  const { heard, events } = await open()
  events.onMessage('you a b')
  events.onMessage('me c')
  assert.deepEqual(heard, [['a', 'b'], []])
})
