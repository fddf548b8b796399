import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { seededRandom } from '../../src/kit/random.ts'
import { type LoadMany } from '../../src/service/cache/cache.ts'
import { SharedLevel } from '../../src/service/cache/shared-level.ts'
import { Valkey } from '../../src/service/valkey.ts'
import { startValkey, type TestValkey, withoutRedis } from '../support/valkey.ts'
import { until } from '../support/until.ts'

const limits = { skip: withoutRedis, timeout: 20_000 }
const never = new AbortController().signal

type Replica = { readonly shared: SharedLevel<string>; readonly suspects: Set<string>; readonly valkey: Valkey }

const prefix = 'test:'
const ttlMs = 10_000

/** A replica of its own connection. */
const join = async (t: TestContext, server: TestValkey, name: string): Promise<Replica> => {
  const random = seededRandom(name.length)
  const valkey = new Valkey({ url: server.url, commandTimeoutMs: 100, random, onEvent: () => {} })
  t.after(() => valkey[Symbol.asyncDispose]())
  await valkey.open()
  await until('reachable', () => valkey.reachable)
  const suspects = new Set<string>()
  let taken = 0
  const token = (): string => `${name}${(taken += 1)}`
  const isSuspect = (key: string): boolean => suspects.has(key)
  return { shared: new SharedLevel({ valkey, prefix, ttlMs, token, random, isSuspect }), suspects, valkey }
}

const start = async (t: TestContext): Promise<{ server: TestValkey; one: Replica; two: Replica }> => {
  const server = await startValkey()
  t.after(() => server[Symbol.asyncDispose]())
  return { server, one: await join(t, server, 'one'), two: await join(t, server, 'two') }
}

/** Finds one value for all keys, or none. */
const finds =
  (value: string | undefined): LoadMany<string, string> =>
  (keys) =>
    Promise.resolve(value === undefined ? [] : keys.map((key) => ({ key, value })))

const fails = (): Promise<never> => Promise.reject(new Error('not to be loaded'))

const read = async ({ shared }: Replica, load: LoadMany<string, string>, key = 'a'): Promise<string | undefined> =>
  (await shared.readThrough([key], load, never))[0]?.value

const stands = async ({ valkey }: Replica, key = 'a'): Promise<unknown> => valkey.command('GET', prefix + key)
const filled = (replica: Replica): Promise<boolean> =>
  until('filled', async () => String(await stands(replica)).startsWith('='))

test('what one has loaded the other finds, for the rest of its time', limits, async (t) => {
  const { one, two } = await start(t)
  assert.equal(await read(one, finds('A ⚓')), 'A ⚓')
  await filled(one)
  const [found] = await two.shared.readThrough(['a'], fails, never)
  assert.equal(found!.value, 'A ⚓')
  assert.ok(found!.freshMs! > 0.8 * ttlMs && found!.freshMs! <= 1.1 * ttlMs, `${found!.freshMs}`)
  await sleep(100)
  const [later] = await two.shared.readThrough(['a'], fails, never)
  assert.ok(later!.freshMs! <= found!.freshMs! - 100)
})

test('of several keys those that are not there are loaded together', limits, async (t) => {
  const { one, two } = await start(t)
  await read(one, finds('B'), 'b')
  await until('filled', async () => (await stands(one, 'b')) === '="B"')
  const asked: (readonly string[])[] = []
  const load: LoadMany<string, string> = (keys) => {
    asked.push(keys)
    return finds('loaded')(keys, never)
  }
  const found = await two.shared.readThrough(['a', 'b', 'c'], load, never)
  assert.deepEqual(asked, [['a', 'c']])
  assert.deepEqual(
    new Map(found.map(({ key, value }) => [key, value])),
    new Map([
      ['b', 'B'],
      ['a', 'loaded'],
      ['c', 'loaded'],
    ]),
  )
})

test('who finds the lease of another loads for itself, and leaves the store to the other', limits, async (t) => {
  const { one, two } = await start(t)
  const { promise, resolve } = Promise.withResolvers<string>()
  const slow = read(one, async (keys) => [{ key: keys[0]!, value: await promise }])
  await until('leased', async () => (await stands(one)) === '?one1')
  assert.equal(await read(two, finds('of two')), 'of two')
  await sleep(50)
  assert.equal(await stands(one), '?one1')
  resolve('of one')
  assert.equal(await slow, 'of one')
  await filled(one)
  assert.equal(await stands(one), '="of one"')
})

test('a load from before a change is not stored after it, whoever else reads meanwhile', limits, async (t) => {
  for (const between of ['nobody', 'a reader that has loaded', 'a reader that is loading'] as const) {
    const { one, two } = await start(t)
    const old = Promise.withResolvers<string>()
    const slow = read(one, async (keys) => [{ key: keys[0]!, value: await old.promise }])
    await until('leased', async () => (await stands(one)) === '?one1')
    await two.shared.remove(['a'])
    const fresh = Promise.withResolvers<string>()
    if (between === 'a reader that has loaded') fresh.resolve('new')
    const reader =
      between === 'nobody' ? undefined : read(two, async (keys) => [{ key: keys[0]!, value: await fresh.promise }])
    if (between === 'a reader that is loading') await until('leased', async () => (await stands(one)) === '?two1')
    if (between === 'a reader that has loaded') await filled(two)
    old.resolve('old')
    assert.equal(await slow, 'old')
    await sleep(50)
    const expected = { nobody: null, 'a reader that has loaded': '="new"', 'a reader that is loading': '?two1' }
    assert.equal(await stands(one), expected[between], between)
    fresh.resolve('new')
    await reader
  }
})

test('a load that finds nothing, or fails, leaves no lease behind', limits, async (t) => {
  const { one } = await start(t)
  assert.equal(await read(one, finds(undefined)), undefined)
  await until('no lease', async () => (await stands(one)) === null)
  await assert.rejects(read(one, fails), /not to be loaded/)
  await until('no lease', async () => (await stands(one)) === null)
})

test('a lease whose owner died lasts for three seconds at most', limits, async (t) => {
  const { one } = await start(t)
  void read(one, () => new Promise(() => {}))
  await until('leased', async () => (await stands(one)) === '?one1')
  const ms = Number(await one.valkey.command('PTTL', `${prefix}a`))
  assert.ok(ms > 2_000 && ms <= 3_000, `${ms}`)
})

test('a suspect key is neither read from the store nor written to it', limits, async (t) => {
  const { one, two } = await start(t)
  await read(one, finds('old'))
  await filled(one)
  two.suspects.add('a')
  assert.equal(await read(two, finds('new')), 'new')
  await sleep(50)
  assert.equal(await stands(two), '="old"')
})

test('what is not of our making is not read', limits, async (t) => {
  const { one } = await start(t)
  await one.valkey.command('SET', `${prefix}a`, '={')
  assert.equal(await read(one, finds('A')), 'A')
  await one.valkey.command('DEL', `${prefix}a`)
  await one.valkey.command('LPUSH', `${prefix}a`, 'x')
  assert.equal(await read(one, finds('A')), 'A')
})

test('a store that is away or hangs is one that has nothing; only removing says that it failed', limits, async (t) => {
  const { server, one, two } = await start(t)
  await read(one, finds('old'))
  await filled(one)
  server.hang()
  const startMs = performance.now()
  assert.equal(await read(one, finds('new')), 'new')
  await assert.rejects(two.shared.remove(['a']))
  assert.ok(performance.now() - startMs < 500)
  const againMs = performance.now()
  assert.equal(await read(one, finds('new')), 'new')
  assert.ok(performance.now() - againMs < 50)
  await server.stop()
  assert.equal(await read(two, finds('new')), 'new')
  await assert.rejects(two.shared.remove(['a']))
})
