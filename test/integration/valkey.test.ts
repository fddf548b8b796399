import assert from 'node:assert/strict'
import { type AddressInfo, createServer } from 'node:net'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import { Failure } from '../../src/kit/errors.ts'
import { seededRandom } from '../../src/kit/random.ts'
import { type Script, Valkey } from '../../src/service/valkey.ts'
import { startValkey, type TestValkey, withoutRedis } from '../support/valkey.ts'
import { until } from '../support/until.ts'

const commandTimeoutMs = 100
const limits = { skip: withoutRedis, timeout: 20_000 }

type Open = {
  readonly server: TestValkey
  readonly valkey: Valkey
  readonly events: string[]
  readonly whys: unknown[]
}

const openTo = (t: TestContext, url: string): Pick<Open, 'valkey' | 'events' | 'whys'> => {
  const events: string[] = []
  const whys: unknown[] = []
  const valkey = new Valkey({
    url,
    commandTimeoutMs,
    random: seededRandom(1),
    onEvent: (event, why) => {
      events.push(event)
      if (why !== undefined) whys.push(why)
    },
  })
  t.after(() => valkey[Symbol.asyncDispose]())
  return { valkey, events, whys }
}

const connected = async (t: TestContext): Promise<Open> => {
  const server = await startValkey()
  t.after(() => server[Symbol.asyncDispose]())
  const opened = openTo(t, server.url)
  await opened.valkey.open()
  await isReachable(opened.valkey)
  return { server, ...opened }
}

const isReachable = (valkey: Valkey): Promise<boolean> => until('reachable', () => valkey.reachable)
const isUnreachable = (valkey: Valkey): Promise<boolean> => until('unreachable', () => !valkey.reachable)

const isUnavailable = (error: unknown): boolean => error instanceof Failure && error.code === 'cache-unavailable'

const timed = async (act: () => Promise<unknown>): Promise<{ result: unknown; ms: number }> => {
  const start = performance.now()
  const result = await act().catch((error: unknown) => error)
  return { result, ms: performance.now() - start }
}

const sum: Script = { lua: 'return tonumber(KEYS[1]) + tonumber(ARGV[1])' }

test('commands and scripts are answered, also by a server that has forgotten the script', limits, async (t) => {
  const { valkey, events } = await connected(t)
  assert.equal(await valkey.command('SET', 'a', 'x'), 'OK')
  assert.equal(await valkey.command('GET', 'a'), 'x')
  assert.equal(await valkey.script(sum, ['1'], ['2']), 3)
  await valkey.command('SCRIPT', 'FLUSH')
  assert.deepEqual(await Promise.all([1, 2, 3].map((n) => valkey.script(sum, [String(n)], ['2']))), [3, 4, 5])
  assert.deepEqual(events, ['reachable'])
})

test(
  "a server's error is cache-unavailable with the error as its cause, and the connection stays",
  limits,
  async (t) => {
    const { valkey, events } = await connected(t)
    await valkey.command('SET', 'a', 'x')
    for (const act of [() => valkey.command('LPUSH', 'a', 'x'), () => valkey.script({ lua: "error('no')" }, [], [])]) {
      const { result } = await timed(act)
      assert.ok(isUnavailable(result))
      assert.ok((result as Error).cause instanceof Error)
    }
    assert.equal(await valkey.command('PING'), 'PONG')
    assert.deepEqual(events, ['reachable'])
  },
)

test('before it is opened and after it is closed, commands fail at once', limits, async (t) => {
  await using server = await startValkey()
  const { valkey } = openTo(t, server.url)
  await assert.rejects(valkey.command('PING'), isUnavailable)
  await assert.rejects(valkey.script(sum, ['1'], ['2']), isUnavailable)
  await valkey.open()
  await isReachable(valkey)
  const inFlight = timed(() => valkey.command('BLPOP', 'nothing', '0'))
  await valkey[Symbol.asyncDispose]()
  assert.ok(isUnavailable((await inFlight).result))
  await assert.rejects(valkey.command('PING'), isUnavailable)
  assert.equal(valkey.reachable, false)
})

test('a server that is not there yet is reached when it is', limits, async (t) => {
  await using server = await startValkey()
  await server.stop()
  const { valkey, events, whys } = openTo(t, server.url)
  await valkey.open()
  await until('told', () => events.length > 0)
  const { result, ms } = await timed(() => valkey.command('PING'))
  assert.ok(isUnavailable(result))
  assert.ok(ms < 20, `${ms} ms`)
  await server.start()
  await isReachable(valkey)
  assert.deepEqual(events, ['unreachable', 'reachable'])
  assert.match(String(whys[0]), /ECONNREFUSED/)
})

test('a server that ends fails what is in flight at once, and is found again after a restart', limits, async (t) => {
  const { server, valkey, events } = await connected(t)
  const inFlight = [1, 2, 3].map(() => timed(() => valkey.command('BLPOP', 'nothing', '0')))
  const stopping = server.stop()
  for (const { result } of await Promise.all(inFlight)) assert.ok(isUnavailable(result))
  await stopping
  await isUnreachable(valkey)
  await server.start()
  await isReachable(valkey)
  assert.equal(await valkey.script(sum, ['1'], ['2']), 3)
  assert.deepEqual(events, ['reachable', 'unreachable', 'reachable'])
})

test('a server that hangs costs the first commands their timeout and the next ones nothing', limits, async (t) => {
  const { server, valkey, events } = await connected(t)
  server.hang()
  const first = await Promise.all(Array.from({ length: 50 }, () => timed(() => valkey.command('GET', 'a'))))
  for (const { result, ms } of first) {
    assert.ok(isUnavailable(result))
    assert.ok(ms < 2 * commandTimeoutMs, `${ms} ms`)
  }
  // New connections are accepted by the system, and not answered either: that must not count as being reached.
  const end = performance.now() + 1_500
  while (performance.now() < end) {
    const { result, ms } = await timed(() => valkey.command('GET', 'a'))
    assert.ok(isUnavailable(result))
    assert.ok(ms < 50, `${ms} ms`)
    await sleep(5)
  }
  server.resume()
  await isReachable(valkey)
  assert.equal(await valkey.command('PING'), 'PONG')
  assert.deepEqual(events, ['reachable', 'unreachable', 'reachable'])
})

test('a server that hangs is noticed also when nobody asks it anything', limits, async (t) => {
  const { server, valkey } = await connected(t)
  server.hang()
  await until('noticed', () => !valkey.reachable, 1_500)
})

test('a process that was busy itself does not take that for a lost server', limits, async (t) => {
  const { valkey, events } = await connected(t)
  for (let round = 0; round < 5; round++) {
    const answers = [1, 2, 3].map(() => valkey.command('PING'))
    await sleep(round)
    const end = performance.now() + 3 * commandTimeoutMs
    while (performance.now() < end);
    assert.deepEqual(await Promise.all(answers), ['PONG', 'PONG', 'PONG'])
  }
  assert.deepEqual(events, ['reachable'])
})

test('a URL that cannot be read is told without its password', limits, async (t) => {
  const { valkey, events, whys } = openTo(t, 'redis://:canary@[/0')
  await valkey.open()
  await assert.rejects(valkey.command('PING'), isUnavailable)
  assert.deepEqual(events, ['unreachable'])
  assert.doesNotMatch(inspect(whys, { depth: 5 }), /canary/)
})

test('what listens there and is no such server is not reached', limits, async (t) => {
  const web = createServer((socket) => socket.on('error', () => {}).end('HTTP/1.1 400 Bad Request\r\n\r\n'))
  t.after(() => web.close())
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve))
  const { valkey, events } = openTo(t, `redis://127.0.0.1:${(web.address() as AddressInfo).port}`)
  await valkey.open()
  await until('told', () => events.length > 0)
  await sleep(300)
  assert.deepEqual(events, ['unreachable'])
})

test('messages arrive next to commands; a lost connection is a gap and is mended', limits, async (t) => {
  const { server, valkey } = await connected(t)
  const { valkey: other } = openTo(t, server.url)
  await other.open()
  await isReachable(other)
  const log: string[] = []
  const events = { gap: () => log.push('gap'), up: () => log.push('up') }
  await valkey.subscribe('news', (message) => log.push(message), events)
  await valkey.subscribe('late', (message) => log.push(`late ${message}`), { gap() {}, up() {} })
  await other.command('PUBLISH', 'news', 'one')
  await valkey.command('PUBLISH', 'news', 'two')
  assert.equal(await valkey.command('PING'), 'PONG')
  await until('both', () => log.length === 3)
  await server.stop()
  await isUnreachable(valkey)
  await server.start()
  await until('again', () => log.at(-1) === 'up' && valkey.reachable && other.reachable)
  await other.command('PUBLISH', 'late', 'three')
  await until('third', () => log.includes('late three'))
  assert.deepEqual(log, ['up', 'one', 'two', 'gap', 'up', 'late three'])
})

test(
  'a channel that is subscribed to before the connection stands has its messages from the first on',
  limits,
  async (t) => {
    await using server = await startValkey()
    const { valkey } = openTo(t, server.url)
    const messages: string[] = []
    const subscribed = valkey.subscribe('news', (message) => messages.push(message), { gap() {}, up() {} })
    await valkey.open()
    await isReachable(valkey)
    await valkey.command('PUBLISH', 'news', 'one')
    await subscribed
    await until('one', () => messages.length === 1)
  },
)
