import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import pino from 'pino'
import { startTestService, type TestService } from '../support/service.ts'
import { startValkey, type TestValkey, withoutRedis } from '../support/valkey.ts'
import { until } from '../support/until.ts'

const limits = { skip: withoutRedis, timeout: 40_000 }
/** What `server.ts` lets a script take, and what the machine may add. */
const firstAnswersMs = 100 + 100

type Answer = {
  readonly status: number
  readonly limit: string | null
  readonly retryAfter: string | null
  readonly code: unknown
  readonly sentAtMs: number
  readonly tookMs: number
}

const ask = async (url: string, headers: Record<string, string> = {}): Promise<Answer> => {
  const sentAtMs = performance.now()
  const response = await fetch(`${url}/json`, { headers })
  const { code } = (await response.json()) as { code?: unknown }
  const tookMs = performance.now() - sentAtMs
  const [limit, retryAfter] = [response.headers.get('RateLimit'), response.headers.get('Retry-After')]
  return { status: response.status, limit, retryAfter, code, sentAtMs, tookMs }
}

/** Sends at a steady rate whatever comes back, to one replica after the other. */
const offer = async (replicas: readonly TestService[], ratePerSecond: number, forMs: number): Promise<Answer[]> => {
  const start = performance.now()
  const answers: Promise<Answer>[] = []
  while (performance.now() - start < forMs) {
    const due = ((performance.now() - start) / 1_000) * ratePerSecond
    while (answers.length <= due) answers.push(ask(replicas[answers.length % replicas.length]!.url))
    await sleep(2)
  }
  return Promise.all(answers)
}

const percentile = (answers: readonly Answer[], share: number): number =>
  answers.map(({ tookMs }) => tookMs).toSorted((a, b) => a - b)[Math.ceil(answers.length * share) - 1]!

type Shared = {
  readonly valkey: TestValkey
  readonly replicas: readonly TestService[]
  readonly log: readonly string[]
}

const sharing = async (t: TestContext, count: number, env: Record<string, string>): Promise<Shared> => {
  const valkey = await startValkey()
  t.after(() => valkey[Symbol.asyncDispose]())
  const log: string[] = []
  const lines = new Writable({
    write(line: Buffer, _encoding, done) {
      log.push(line.toString())
      done()
    },
  })
  const start = async (): Promise<TestService> => {
    const replica = await startTestService({ CACHE_URL: valkey.url, ...env }, { log: pino(lines) })
    t.after(() => replica[Symbol.asyncDispose]())
    return replica
  }
  const replicas = await Promise.all(Array.from({ length: count }, start))
  await until('all reach it', () => log.filter((line) => line.includes('"valkey reachable"')).length === count)
  return { valkey, replicas, log }
}

test('three replicas that share a limit are within 1 % of it', limits, async (t) => {
  const { replicas } = await sharing(t, 3, { RATE_LIMIT: '200/s', RATE_LIMIT_KEYS: 'warm-up:not-a-secret' })
  // What is used for the first time takes longer.
  for (const { url } of [...replicas, ...replicas]) await ask(url, { 'X-Api-Key': 'not-a-secret' })
  const answers = await offer(replicas, 600, 3_500)
  const allowed = answers.filter(({ status }) => status === 200).length
  // The limit counts from the first request to the last that Valkey sees, some time between their sending and answers.
  const sent = answers.map(({ sentAtMs }) => sentAtMs)
  const answered = answers.map(({ sentAtMs, tookMs }) => sentAtMs + tookMs)
  const least = 200 + (200 * (Math.max(...sent) - Math.min(...answered))) / 1_000
  const most = 200 + (200 * (Math.max(...answered) - Math.min(...sent))) / 1_000
  t.diagnostic(`${allowed} allowed of ${answers.length}, limit ${least.toFixed(1)} to ${most.toFixed(1)}`)
  assert.ok(allowed >= least * 0.99 && allowed <= most * 1.01, `${allowed} allowed, limit ${least} to ${most}`)
  const refused = answers.filter(({ status }) => status === 429)
  assert.equal(refused.length, answers.length - allowed)
  assert.ok(refused.every(({ retryAfter, code }) => retryAfter === '1' && code === 'rate-limited'))
  assert.ok(answers.every(({ limit }) => /^"address";r=\d+;t=\d+$/.test(limit ?? '')))
})

test('without Valkey each replica has a limit of its own', { timeout: 40_000 }, async (t) => {
  const replicas = await Promise.all([1, 2, 3].map(() => startTestService({ RATE_LIMIT: '5/h' })))
  for (const replica of replicas) t.after(() => replica[Symbol.asyncDispose]())
  const statuses = await Promise.all(replicas.flatMap(({ url }) => Array.from({ length: 8 }, () => ask(url))))
  assert.equal(statuses.filter(({ status }) => status === 200).length, 15)
})

test('owners of keys and addresses have buckets of their own in Valkey, which shows no key', limits, async (t) => {
  const env = { RATE_LIMIT: '2/h', RATE_LIMIT_KEYS: 'alice:canary-of-alice,bob:canary-of-bob' }
  const { valkey, replicas, log } = await sharing(t, 2, env)
  const [one, two] = replicas as [TestService, TestService]
  const as = (key: string) =>
    [one, two, one].map(
      ({ url }) =>
        () =>
          ask(url, { 'X-Api-Key': key }),
    )
  const statuses: number[] = []
  for (const act of [...as('canary-of-alice'), ...as('canary-of-bob'), ...as('canary-unknown')]) {
    statuses.push((await act()).status)
  }
  assert.deepEqual(statuses, [200, 200, 429, 200, 200, 429, 200, 200, 429])
  const known = await keysOf(valkey)
  const names = ['address:127.0.0.1', 'key:alice', 'key:bob'].map((name) => `plimsoll:rate-limit:${name}`)
  assert.deepEqual(known.toSorted(), names)
  assert.doesNotMatch(log.join(''), /canary/)
})

const keysOf = async ({ url }: TestValkey): Promise<string[]> => {
  const { createClient } = await import('@redis/client')
  const client = createClient({ url })
  await client.connect()
  const keys = await client.keys('*')
  client.destroy()
  return keys
}

/** The two ways to lose it. */
const losses = [
  { how: 'ended', lose: (valkey: TestValkey) => valkey.stop(), back: (valkey: TestValkey) => valkey.start() },
  {
    how: 'hung',
    lose: async (valkey: TestValkey) => valkey.hang(),
    back: async (valkey: TestValkey) => valkey.resume(),
  },
] as const

const policies = [
  { onLoss: 'open', law: 'requests pass without a limit', status: 200, code: undefined, retryAfter: null },
  { onLoss: 'closed', law: 'requests are answered 503', status: 503, code: 'rate-limit-unavailable', retryAfter: '1' },
] as const

for (const { how, lose, back } of losses) {
  for (const { onLoss, law, status, code, retryAfter } of policies) {
    test(`${onLoss}: while Valkey is ${how}, ${law}, and nobody waits for it`, limits, async (t) => {
      const env = { RATE_LIMIT: '10000/s', RATE_LIMIT_ON_LOSS: onLoss }
      const { valkey, replicas, log } = await sharing(t, 1, env)
      // A connection and a route that are used for the first time take longer.
      await offer(replicas, 100, 200)
      const lostAtMs = performance.now()
      const losing = lose(valkey)
      const answers = await offer(replicas, 200, 1_500)
      await losing
      const during = answers.filter(({ limit }) => limit === null)
      assert.ok(during.length >= answers.length - 2, `${answers.length - during.length} were counted`)
      for (const answer of during) {
        const { tookMs, sentAtMs: _, limit: __, ...seen } = answer
        assert.deepEqual(seen, { status, code, retryAfter })
        assert.ok(tookMs <= firstAnswersMs, `an answer took ${tookMs} ms`)
      }
      const later = during.filter(({ sentAtMs }) => sentAtMs > lostAtMs + firstAnswersMs)
      t.diagnostic(`p99 ${percentile(later, 0.99).toFixed(1)} ms, the first ${during[0]!.tookMs.toFixed(1)} ms`)
      assert.ok(percentile(later, 0.99) < 50, `p99 ${percentile(later, 0.99)} ms`)

      await back(valkey)
      await until('counted again', async () => (await ask(replicas[0]!.url)).limit !== null)
      const told = log.map((line) => (JSON.parse(line) as { msg: string }).msg)
      const expected = ['requests cannot be counted', 'requests are counted again']
      assert.deepEqual(
        told.filter((msg) => /counted/.test(msg)),
        expected,
      )
    })
  }
}

test('a replica that starts without Valkey serves, and counts as soon as it can', limits, async () => {
  await using valkey = await startValkey()
  await valkey.stop()
  await using replica = await startTestService({ CACHE_URL: valkey.url, RATE_LIMIT: '100/s' })
  const { status, limit } = await ask(replica.url)
  assert.deepEqual([status, limit], [200, null])
  await valkey.start()
  await until('counted', async () => (await ask(replica.url)).limit !== null)
})

test('a service that is ending waits for no Valkey that hangs', limits, async () => {
  await using valkey = await startValkey()
  const replica = await startTestService({ CACHE_URL: valkey.url, RATE_LIMIT: '100/s' })
  await until('counted', async () => (await ask(replica.url)).limit !== null)
  valkey.hang()
  const start = performance.now()
  await replica[Symbol.asyncDispose]()
  assert.ok(performance.now() - start < 1_000)
  valkey.resume()
})
