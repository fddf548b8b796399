import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { test, type TestContext } from 'node:test'
import { Readable } from 'node:stream'
import fc from 'fast-check'
import type { ProblemCode } from '../../../src/contract/problems.ts'
import { Failure } from '../../../src/kit/errors.ts'
import { gcra } from '../../../src/service/admission/gcra.ts'
import { createRateLimit, type RateLimit, type RateLimitConfig } from '../../../src/service/admission/rate-limit.ts'
import { clientNetwork, networkOf } from '../../../src/service/admission/rate-limit-client.ts'
import { MemoryBuckets } from '../../../src/service/admission/rate-limit-memory.ts'
import { LeanKoa, type ServiceContext } from '../../../src/service/http/lean-koa.ts'
import { answerProblem } from '../../../src/service/http/problem.ts'
import { listen, type RawAnswer, request, type RawRequest } from '../../support/http.ts'
import { VirtualClock } from '../work/virtual-clock.ts'

test('IPv4 counts by address, also within IPv6, and IPv6 by its /64', () => {
  for (const [address, network] of [
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:c000:0201', '192.0.2.1'],
    ['0:0:0:0:0:ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:0DB8:0001:0002::', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['64:ff9b::192.0.2.1', '64:ff9b:0:0::/64'],
    ['1:2:3:4:5:6:7::', '1:2:3:4::/64'],
  ] as const) {
    assert.equal(networkOf(address), network, address)
  }
})

test('all notations of an IPv6 address are one network', () => {
  const words = fc.array(fc.constantFrom(0, 0, 0, 1, 0xffff, 0xdb8), { minLength: 8, maxLength: 8 })
  fc.assert(
    fc.property(words, (parts) => {
      const hex = parts.map((part) => part.toString(16))
      const whole = networkOf(hex.join(':'))
      assert.equal(networkOf(hex.map((part) => part.padStart(4, '0').toUpperCase()).join(':')), whole)
      for (let from = 0; from < 8; from++) {
        for (let to = from + 1; to <= 8 && parts[to - 1] === 0; to++) {
          assert.equal(networkOf(`${hex.slice(0, from).join(':')}::${hex.slice(to).join(':')}`), whole)
        }
      }
    }),
    { seed: 2026 },
  )
})

const requestFrom = (remoteAddress: string, ...forwarded: string[]): IncomingMessage => {
  const rawHeaders = ['Host', 'test', ...forwarded.flatMap((value) => ['X-Forwarded-For', value]), 'Accept', '*/*']
  return { socket: { remoteAddress }, rawHeaders } as unknown as IncomingMessage
}

test('X-Forwarded-For counts from the right, as many entries as there are trusted proxies, over all of its fields', () => {
  for (const [trusted, forwarded, network] of [
    [0, ['192.0.2.1'], '10.0.0.1'],
    [1, ['192.0.2.1'], '192.0.2.1'],
    [1, ['198.51.100.7, 192.0.2.1'], '192.0.2.1'],
    [1, ['198.51.100.7,192.0.2.1 '], '192.0.2.1'],
    [1, ['198.51.100.7', '192.0.2.1'], '192.0.2.1'],
    [2, ['198.51.100.7', '192.0.2.1', '192.0.2.2'], '192.0.2.1'],
    [2, ['198.51.100.7, 192.0.2.1, 192.0.2.2'], '192.0.2.1'],
    [2, ['192.0.2.2'], '10.0.0.1'],
    [1, [], '10.0.0.1'],
    [1, [''], '10.0.0.1'],
    [1, ['192.0.2.1,'], '10.0.0.1'],
    [1, ['192.0.2.1, unknown'], '10.0.0.1'],
    [1, ['x'.repeat(10_000)], '10.0.0.1'],
    [1, ['192.0.2.1:4711'], '192.0.2.1'],
    [1, ['[2001:db8::1]:4711'], '2001:db8:0:0::/64'],
    [1, ['[2001:db8::1]'], '2001:db8:0:0::/64'],
    [1, ['2001:db8::1'], '2001:db8:0:0::/64'],
    [1, ['['], '10.0.0.1'],
    [1, ['[]:1'], '10.0.0.1'],
  ] as const) {
    assert.equal(
      clientNetwork(requestFrom('10.0.0.1', ...forwarded), trusted),
      network,
      `${trusted}: ${forwarded.join(' | ')}`,
    )
  }
})

test('what a client writes into X-Forwarded-For itself changes nothing', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 40 })), fc.integer({ min: 1, max: 3 }), (lies, trusted) => {
      const added = ['192.0.2.1', '192.0.2.2', '192.0.2.3'].slice(0, trusted).join(', ')
      assert.equal(clientNetwork(requestFrom('10.0.0.1', ...lies, added), trusted), '192.0.2.1')
      const inOne = requestFrom('10.0.0.1', [...lies, added].join(', '))
      assert.equal(clientNetwork(inOne, trusted), '192.0.2.1')
    }),
    { seed: 2026 },
  )
})

test('each client in memory is judged as if it were alone', () => {
  const limit = { emissionMs: 700, burst: 3 }
  const arrivals = fc.array(fc.tuple(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 0, max: 1_500 })), {
    maxLength: 300,
  })
  fc.assert(
    fc.property(arrivals, (requests) => {
      const buckets = new MemoryBuckets(limit, 100)
      const alone = new Map<number, number>()
      let nowMs = 0
      for (const [client, gapMs] of requests) {
        nowMs += gapMs
        const expected = gcra(alone.get(client) ?? -Infinity, nowMs, limit)
        alone.set(client, expected.tatMs)
        assert.deepEqual(buckets.take(String(client), nowMs), expected)
      }
    }),
    { seed: 2026 },
  )
})

test('a flood of addresses grows the memory up to its bound, and does not help a client that keeps coming', () => {
  const buckets = new MemoryBuckets({ emissionMs: 60_000, burst: 5 }, 1_000)
  let allowed = 0
  for (let n = 0; n < 100_000; n++) {
    buckets.take(`flood ${n}`, 0)
    if (n % 100 === 0 && buckets.take('steady', 0).allowed) allowed++
    assert.ok(buckets.size <= 1_000)
  }
  assert.equal(allowed, 5)
})

test('clients that have been away for long enough are forgotten', () => {
  const buckets = new MemoryBuckets({ emissionMs: 1_000, burst: 5 }, 1_000)
  for (let n = 0; n < 400; n++) buckets.take(`flood ${n}`, 0)
  buckets.take('another', 10_000)
  buckets.take('another', 20_000)
  assert.equal(buckets.size, 1)
})

const config: RateLimitConfig = {
  requests: 2,
  windowSeconds: 10,
  burst: 2,
  keys: new Map([
    ['canary-of-alice', 'alice'],
    ['another-of-alice', 'alice'],
    ['canary-of-bob', 'bob'],
  ]),
  keyHeader: 'x-api-key',
  onLoss: 'open',
  trustedProxies: 0,
}

type Limited = {
  readonly clock: VirtualClock
  readonly limit: RateLimit
  readonly ask: (options?: RawRequest) => Promise<RawAnswer>
}

const limited = async (
  t: TestContext,
  part: Partial<RateLimitConfig> = {},
  answer: (ctx: ServiceContext) => void = (ctx) => ctx.reply(200, 'text/plain', 'yes'),
  replies: 'direct' | 'koa' = 'direct',
): Promise<Limited> => {
  const clock = new VirtualClock()
  const limit = createRateLimit({ ...config, ...part }, { clock, valkey: undefined })!
  const app = new LeanKoa({ headers: ['Server', 'test'], replies })
  app.context.onerror = answerProblem
  app.use(limit.middleware)
  app.use(answer)
  const at = await listen(app.callback())
  t.after(() => at[Symbol.asyncDispose]())
  return { clock, limit, ask: (options) => request(at.port, '/', options) }
}

const told = (answer: RawAnswer): unknown[] => [
  answer.status,
  answer.header('RateLimit-Policy'),
  answer.header('RateLimit'),
  answer.header('Retry-After'),
]

test('without a limit there is no middleware', () => {
  assert.equal(createRateLimit(undefined, { clock: new VirtualClock(), valkey: undefined }), undefined)
})

test('each answer tells the quota, what remains and when there is more; past the limit it is 429 until then', async (t) => {
  const { clock, limit, ask } = await limited(t)
  const policy = '"address";q=2;w=10'
  assert.deepEqual(told(await ask()), [200, policy, '"address";r=1;t=5', undefined])
  await clock.advance(1_500)
  assert.deepEqual(told(await ask()), [200, policy, '"address";r=0;t=9', undefined])
  assert.deepEqual(told(await ask()), [429, policy, '"address";r=0;t=4', '4'])
  await clock.advance(3_400)
  assert.deepEqual(told(await ask()), [429, policy, '"address";r=0;t=1', '1'])
  await clock.advance(100)
  assert.deepEqual(told(await ask()), [200, policy, '"address";r=0;t=10', undefined])
  await clock.advance(60_000)
  assert.deepEqual(told(await ask()), [200, policy, '"address";r=1;t=5', undefined])
  assert.deepEqual(limit.stats(), { allowed: 4, refused: 2, uncounted: 0, clients: 1 })
})

test('a burst that is not the quota is told, too', async (t) => {
  const { ask } = await limited(t, { burst: 7 })
  assert.deepEqual(told(await ask()), [200, '"address";q=2;w=10;plimsoll-burst=7', '"address";r=6;t=5', undefined])
})

test('a refusal is a problem that says what the limit is', async (t) => {
  const { ask } = await limited(t)
  await Promise.all([ask(), ask()])
  const answer = await ask({ headers: { 'X-Request-Id': 'mine' } })
  const { status, title } = { status: 429, title: 'This client has used up its share' }
  assert.deepEqual(JSON.parse(answer.body.toString()), {
    type: '/problems/rate-limited',
    title,
    status,
    code: 'rate-limited',
    detail: 'the limit for each address is 2 requests in 10 s',
    requestId: 'mine',
  })
  assert.equal(answer.header('Content-Type'), 'application/problem+json')
})

const anything: readonly (readonly [name: string, answer: (ctx: ServiceContext) => void])[] = [
  ['a prepared reply', (ctx) => ctx.reply(200, 'text/plain', 'x', ['X-Own', '1'])],
  [
    'a prepared reply that is touched later',
    (ctx) => {
      ctx.reply(200, 'text/plain', 'x')
      ctx.set('X-Own', '1')
    },
  ],
  ['a reply without a body', (ctx) => ctx.reply(204, 'text/plain', '')],
  ['an object', (ctx) => void (ctx.body = { a: 1 })],
  ['a stream', (ctx) => void (ctx.body = Readable.from(['one', 'two']))],
  ['no answer at all', () => {}],
  [
    'a problem',
    () => {
      throw new Failure<ProblemCode>('conflict')
    },
  ],
  [
    'a problem after half an answer was set',
    (ctx) => {
      ctx.set('X-Half', '1')
      throw new Failure<ProblemCode>('conflict')
    },
  ],
]

for (const replies of ['direct', 'koa'] as const) {
  for (const [name, answer] of anything) {
    test(`the fields are on ${name}, once each (${replies})`, async (t) => {
      const { ask } = await limited(t, { requests: 100, burst: 100 }, answer, replies)
      for (const method of ['GET', 'HEAD']) {
        const { headers } = await ask({ method })
        const fields = headers.filter(([field]) => /^(ratelimit|server$)/i.test(field)).map(([field]) => field)
        assert.deepEqual(fields.sort(), ['RateLimit', 'RateLimit-Policy', 'Server'])
      }
    })
  }
}

test('an owner of a key has a limit of its own, whichever of its keys is used', async (t) => {
  const { ask } = await limited(t)
  const as = (key: string): Promise<RawAnswer> => ask({ headers: { 'X-Api-Key': key } })
  const [first, second] = [await as('canary-of-alice'), await as('another-of-alice')]
  assert.deepEqual(told(first), [200, '"key";q=2;w=10', '"key";r=1;t=5', undefined])
  assert.equal(second.header('RateLimit'), '"key";r=0;t=10')
  assert.equal((await as('canary-of-alice')).status, 429)
  assert.deepEqual([(await as('canary-of-bob')).status, (await ask()).status], [200, 200])
})

test('a key that is not known counts for nothing: its client is its address', async (t) => {
  const { ask } = await limited(t)
  const statuses: number[] = []
  for (const key of ['made-up-1', 'made-up-2', 'canary-of-alic', 'canary-of-alicE', 'alice', '__proto__', '']) {
    statuses.push((await ask({ headers: { 'X-Api-Key': key } })).status)
  }
  assert.deepEqual(statuses, [200, 200, 429, 429, 429, 429, 429])
})

test('an owner whose name is an address does not share the limit of that address', async (t) => {
  const { ask } = await limited(t, { burst: 1, keys: new Map([['canary-of-odd', '127.0.0.1']]) })
  assert.equal((await ask({ headers: { 'X-Api-Key': 'canary-of-odd' } })).status, 200)
  assert.equal((await ask()).status, 200)
})

test('no answer shows a key', async (t) => {
  const { ask } = await limited(t)
  for (let n = 0; n < 4; n++) {
    const { headers, body } = await ask({ headers: { 'X-Api-Key': 'canary-of-alice' } })
    assert.doesNotMatch(`${JSON.stringify(headers)}${body.toString()}`, /canary/)
  }
})
