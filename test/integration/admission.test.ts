import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, get, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, createServer } from 'node:net'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import * as z from 'zod'
import { migrate } from '../../src/service/db/migrate.ts'
import { readJson } from '../../src/service/http/body.ts'
import { LeanKoa, type ServiceMiddleware } from '../../src/service/http/lean-koa.ts'
import { serve } from '../support/cli.ts'
import { dial, listen, request, requestBytes } from '../support/http.ts'
import { freshDatabase } from '../support/postgres.ts'
import { startTestService } from '../support/service.ts'
import { until } from '../support/until.ts'

const limits = { timeout: 60_000 }

const times = <Result>(count: number, make: (i: number) => Result): Result[] =>
  Array.from({ length: count }, (_, i) => make(i))

const statuses = (answers: readonly { readonly status: number }[], status: number): number =>
  answers.filter((answer) => answer.status === status).length

test(
  'with MAX_IN_FLIGHT=1 and QUEUE_LENGTH=0 one is served at a time, and the rest is refused at once',
  limits,
  async () => {
    await using service = await startTestService({ MAX_IN_FLIGHT: '1', QUEUE_LENGTH: '0' })
    for (let round = 0; round < 3; round++) {
      const start = performance.now()
      const answeredMs: number[] = []
      const answers = await Promise.all(
        times(10, async () => {
          const answer = await request(service.port, '/work/wait?ms=300')
          if (answer.status === 503) answeredMs.push(performance.now() - start)
          return answer
        }),
      )
      assert.deepEqual([statuses(answers, 200), statuses(answers, 503)], [1, 9])
      assert.ok(Math.max(...answeredMs) < 290, `refused after ${Math.max(...answeredMs)} ms`)
      assert.ok(answers.every((answer) => answer.status === 200 || Number(answer.header('Retry-After')) >= 1))
    }
  },
)

test('with a queue they wait in order, and those that wait too long are refused', limits, async () => {
  await using service = await startTestService({ MAX_IN_FLIGHT: '1', QUEUE_LENGTH: '5', QUEUE_TIMEOUT_MS: '400' })
  const start = performance.now()
  const took = await Promise.all(
    times(8, async () => {
      const { status, body } = await request(service.port, '/work/wait?ms=150')
      return { status, ms: performance.now() - start, body: body.toString() }
    }),
  )
  const servedMs = took.filter(({ status }) => status === 200).map(({ ms }) => ms)
  assert.equal(servedMs.length, 3)
  assert.ok(Math.max(...servedMs) >= 450 && Math.max(...servedMs) < 800, `${servedMs.join(', ')} ms`)
  const waited = took.filter(({ body }) => body.includes('waited in the queue'))
  assert.equal(waited.length, 3)
  assert.ok(waited.every(({ ms }) => ms >= 395 && ms < 800))
  assert.equal(took.filter(({ body }) => body.includes('the queue is full')).length, 2)
})

/** A way to the database that counts what is sent to it. */
const countingLink = async (t: TestContext, database: string): Promise<{ url: string; sentBytes: () => number }> => {
  const url = new URL(database)
  const { port, hostname } = url
  let sent = 0
  const server = createServer((near) => {
    const far = connect(Number(port), hostname)
    near.on('data', (bytes: Buffer) => (sent += bytes.length))
    near.pipe(far).pipe(near)
    for (const socket of [near, far]) socket.on('error', () => {})
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.after(() => server.close())
  url.port = String((server.address() as AddressInfo).port)
  return { url: url.href, sentBytes: () => sent }
}

test('a refused request does not touch the database', limits, async (t) => {
  const database = await freshDatabase()
  await migrate(database)
  const link = await countingLink(t, database)
  await using service = await startTestService({ DATABASE_URL: link.url, MAX_IN_FLIGHT: '1', QUEUE_LENGTH: '0' })
  assert.equal((await request(service.port, '/db')).status, 200)
  const busy = request(service.port, '/work/wait?ms=500')
  while ((await request(service.port, '/json')).status === 200);
  const before = link.sentBytes()
  const item = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"name":"x"}' }
  const answers = await Promise.all(
    times(20, (i) => (i % 2 === 0 ? request(service.port, '/db') : request(service.port, '/items', item))),
  )
  assert.equal(statuses(answers, 503), 20)
  assert.equal(link.sentBytes(), before)
  await busy
})

test('probes are not limited', limits, async () => {
  await using service = await serve([], { MAX_IN_FLIGHT: '1', QUEUE_LENGTH: '0' })
  const port = Number(new URL(service.url).port)
  const busy = request(port, '/work/wait?ms=1500')
  while ((await request(port, '/json')).status === 200);
  const adminPort = Number(new URL(service.adminUrl).port)
  const probes = await Promise.all(times(30, (i) => request(adminPort, ['/livez', '/readyz', '/startupz'][i % 3]!)))
  assert.equal(statuses(probes, 200), 30)
  assert.equal((await busy).status, 200)
})

test('4,000 that only wait are all served by a process that has just started, fixed or adaptive', limits, async () => {
  for (const mode of ['fixed', 'adaptive']) {
    await using service = await serve([], { ADMISSION: mode })
    const agent = new Agent({ keepAlive: true, maxSockets: 4_000 })
    const answers = await Promise.all(times(4_000, () => ask(`${service.url}/work/wait?ms=1000`, agent)))
    agent.destroy()
    assert.equal(statuses(answers, 200), 4_000, mode)
  }
})

type Timed = { readonly status: number; readonly ms: number }

/** Sends one request over a connection that is kept. */
const ask = async (url: string, agent: Agent, headers: Readonly<Record<string, string>> = {}): Promise<Timed> => {
  const start = performance.now()
  const [answer] = (await once(get(url, { agent, headers }), 'response')) as [IncomingMessage]
  await once(answer.resume(), 'end')
  return { status: answer.statusCode!, ms: performance.now() - start }
}

/** Lets some clients ask again and again, each as soon as it has its answer, for a time. */
const hammer = async (url: string, clients: number, forMs: number, headers = {}): Promise<Timed[]> => {
  const agent = new Agent({ keepAlive: true, maxSockets: clients })
  const end = performance.now() + forMs
  const answers: Timed[] = []
  const client = async (): Promise<void> => {
    while (performance.now() < end) answers.push(await ask(url, agent, headers))
  }
  await Promise.all(times(clients, client))
  agent.destroy()
  return answers
}

const quantile = (answers: readonly Timed[], share: number): number =>
  answers.map(({ ms }) => ms).sort((a, b) => a - b)[Math.floor(answers.length * share)]!

test('critical requests survive a flood of sheddable ones', limits, async () => {
  await using service = await serve([], { MAX_IN_FLIGHT: '10', QUEUE_LENGTH: '10', PRIORITY_HEADER: 'priority' })
  // 10 slots for work of 20 ms: 500 a second. 100 clients that never wait ask for many times that.
  const url = `${service.url}/work/wait?ms=20`
  const flood = hammer(url, 100, 4_000, { Priority: 'sheddable' })
  const critical = await hammer(url, 5, 4_000, { Priority: 'critical' })
  const sheddable = await flood
  assert.ok(statuses(sheddable, 503) > 10 * statuses(sheddable, 200), `${statuses(sheddable, 503)} shed`)
  assert.ok(critical.length >= 100, `${critical.length}`)
  assert.ok(
    statuses(critical, 200) >= 0.999 * critical.length,
    `${statuses(critical, 503)} of ${critical.length} refused`,
  )
})

test(
  'under work that holds the event loop the queue is bounded, refusals are quick, and the work goes on',
  limits,
  async () => {
    const queueTimeoutMs = 1_000
    await using service = await serve([], { QUEUE_LENGTH: '20', QUEUE_TIMEOUT_MS: String(queueTimeoutMs) })
    const url = `${service.url}/work/block?ms=5`
    const calm = await hammer(url, 1, 1_000)
    const flood = await hammer(url, 60, 4_000)
    const served = flood.filter(({ status }) => status === 200)
    const refused = flood.filter(({ status }) => status === 503)
    assert.equal(served.length + refused.length, flood.length)
    assert.ok(refused.length > served.length, `${refused.length} refused, ${served.length} served`)
    assert.ok(served.length / 4 > 0.4 * calm.length, `${served.length / 4} per s, alone ${calm.length}`)
    assert.ok(quantile(served, 0.99) <= 2 * quantile(calm, 0.99) + queueTimeoutMs, `p99 ${quantile(served, 0.99)} ms`)
    assert.ok(quantile(refused, 0.5) <= 150, `half of the refusals within ${quantile(refused, 0.5)} ms`)
    const after = await hammer(url, 1, 1_000)
    assert.equal(statuses(after, 200), after.length)
  },
)

test('the time that a client takes to send its body is no sign of load, whether it comes whole or not', async (t) => {
  const ended: number[] = []
  const app = new LeanKoa()
  app.context.onerror = () => {}
  const read: ServiceMiddleware = async (ctx) => {
    await readJson(ctx, z.looseObject({}), 1_000).finally(() => ended.push(ctx.requestedMs))
  }
  app.use(read)
  const listening = await listen(app.callback())
  t.after(() => listening[Symbol.asyncDispose]())
  const head = requestBytes('/', { headers: { 'Content-Type': 'application/json', 'Content-Length': '2' } })
  for (const finish of ['{}', undefined]) {
    const socket = await dial(listening.port)
    socket.write(head)
    await sleep(100)
    if (finish === undefined) socket.destroy()
    else socket.write(finish)
    const before = ended.length
    await until('the body has ended', () => ended.length > before)
  }
  assert.ok(
    ended.every((ms) => ms > 80 && ms < 1_000),
    String(ended),
  )
})
