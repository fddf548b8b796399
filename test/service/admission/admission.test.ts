import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { test, type TestContext } from 'node:test'
import { type Admission, type AdmissionConfig, createAdmission } from '../../../src/service/admission/admission.ts'
import { AdmissionMeter } from '../../../src/service/admission/meter.ts'
import { assemble } from '../../../src/service/app.ts'
import { unhurriedCancellation } from '../../../src/service/http/cancellation.ts'
import { Deadlines } from '../../../src/service/http/deadlines.ts'
import type { ServiceContext, ServiceMiddleware } from '../../../src/service/http/lean-koa.ts'
import type { Clock } from '../../../src/kit/timers.ts'
import type { Trace } from '../../../src/kit/trace.ts'
import { collect, dial, listen, type RawAnswer, readAnswers, request, requestBytes } from '../../support/http.ts'
import { recordedTrace, told } from '../../support/trace.ts'
import { until } from '../../support/until.ts'
import { VirtualClock } from '../work/virtual-clock.ts'

const config: AdmissionConfig = {
  mode: 'fixed',
  maxInFlight: 1,
  queueLength: 3,
  queueTimeoutMs: 100,
  queueOrder: 'fifo',
  priorityHeader: 'priority',
}

/** A virtual clock that can also pass while a handler holds the event loop: no timer fires meanwhile. */
class JumpingClock implements Clock {
  readonly #virtual = new VirtualClock()
  #jumpedMs = 0

  readonly now = (): number => this.#virtual.now() + this.#jumpedMs
  readonly setTimeout = this.#virtual.setTimeout
  readonly clearTimeout = this.#virtual.clearTimeout

  get pending(): number {
    return this.#virtual.pending
  }

  advance(ms: number): Promise<void> {
    return this.#virtual.advance(ms)
  }

  jump(ms: number): void {
    this.#jumpedMs += ms
  }
}

/** An application on a virtual clock whose handlers end when they are told. */
class Bench implements AsyncDisposable {
  readonly clock = new JumpingClock()
  readonly admission: Admission
  readonly running: { readonly name: string; readonly end: () => void }[] = []
  /** Callbacks that wait for the next turn of the event loop. */
  readonly turns: (() => void)[] = []
  readonly started: string[] = []
  readonly meter = new AdmissionMeter()
  /** Of the requests that are sent `traced`, in their order. */
  readonly traces: Trace[] = []
  port = 0
  #close: () => PromiseLike<void> = () => Promise.resolve()

  constructor(parts: Partial<AdmissionConfig>) {
    const nextTurn = (callback: () => void): unknown => this.turns.push(callback)
    this.admission = createAdmission({ ...config, ...parts }, { clock: this.clock, nextTurn, meter: this.meter })!
  }

  static async open(t: TestContext, parts: Partial<AdmissionConfig> = {}): Promise<Bench> {
    const bench = new Bench(parts)
    t.after(() => bench[Symbol.asyncDispose]())
    const deadlines = new Deadlines({ defaultMs: 1_000, header: 'request-timeout-ms', clock: bench.clock })
    const options = { headers: ['Server', 'test'], deadlines }
    const app = assemble(
      options,
      [(api) => api.get('/:name', { summary: '', answers: {} }, (ctx) => bench.handle(ctx))],
      undefined,
      [bench.trace, bench.admission.middleware],
    )
    const listening = await listen(app.callback())
    bench.port = listening.port
    bench.#close = () => listening[Symbol.asyncDispose]()
    return bench
  }

  readonly trace: ServiceMiddleware = (ctx, next) => {
    if (ctx.headers['traced'] !== undefined) this.traces.push((ctx.trace = recordedTrace(this.clock)))
    return next()
  }

  /** `/block5` holds the event loop for 5 ms; anything else runs until it is ended. */
  async handle(ctx: ServiceContext): Promise<void> {
    const name = ctx.params['name']!
    this.started.push(name)
    if (name.startsWith('block')) ctx.reply(200, 'text/plain', name)
    else ctx.body = name
    const blockMs = Number(/^block(\d+)/.exec(name)?.[1])
    if (blockMs > 0) this.clock.jump(blockMs)
    if (blockMs >= 0) return
    await new Promise<void>((resolve) => this.running.push({ name, end: () => resolve() }))
  }

  get(name: string, headers: Readonly<Record<string, string>> = {}): Promise<RawAnswer> {
    return request(this.port, `/${name}`, { headers })
  }

  /** Sends a request, and waits until it is served or queued. */
  async send(name: string, headers: Readonly<Record<string, string>> = {}): Promise<{ answer: Promise<RawAnswer> }> {
    const before = this.#known()
    const answer = this.get(name, headers)
    // Many a test ends before it is answered.
    answer.catch(() => {})
    await until(`${name} is known`, () => this.#known() > before)
    return { answer }
  }

  end(name: string): void {
    const at = this.running.findIndex((one) => one.name === name)
    this.running.splice(at, 1)[0]!.end()
  }

  #known(): number {
    const { accepted, queued, withdrawn, refused } = this.admission.stats()
    return accepted + queued + withdrawn + 2 * Object.values(refused).reduce((sum, count) => sum + count, 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { end } of this.running) end()
    await this.#close()
  }
}

const detail = (answer: RawAnswer): string =>
  String((JSON.parse(answer.body.toString()) as { detail?: unknown }).detail)

test('switched off there is none', () => {
  assert.equal(createAdmission({ ...config, mode: 'off' }, { clock: new VirtualClock() }), undefined)
})

test('those beyond the limit wait, and each that ends starts the next', async (t) => {
  const bench = await Bench.open(t)
  const sent = []
  for (const name of ['a', 'b', 'c']) sent.push(await bench.send(name))
  assert.deepEqual(bench.started, ['a'])
  assert.equal(bench.admission.stats().queued, 2)
  for (const name of ['a', 'b', 'c']) {
    await until(`${name} runs`, () => bench.started.at(-1) === name)
    bench.end(name)
  }
  const answers = await Promise.all(sent.map(({ answer }) => answer))
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 200],
  )
  const { inFlight, queued, accepted } = bench.admission.stats()
  assert.deepEqual({ inFlight, queued, accepted }, { inFlight: 0, queued: 0, accepted: 3 })
})

test('a refusal is the problem document of any other, with Retry-After', async (t) => {
  const bench = await Bench.open(t, { queueLength: 0 })
  await bench.send('a')
  const answer = await bench.get('b', { 'X-Request-Id': 'mine' })
  assert.equal(answer.status, 503)
  assert.deepEqual(JSON.parse(answer.body.toString()), {
    type: '/problems/overloaded',
    title: 'More requests than can be served',
    status: 503,
    code: 'overloaded',
    detail: 'as many requests as are taken at once are in flight, and the queue is full',
    requestId: 'mine',
  })
  assert.deepEqual(
    ['Content-Type', 'Cache-Control', 'X-Request-Id', 'Retry-After', 'Server'].map((name) => answer.header(name)),
    ['application/problem+json', 'no-store', 'mine', '1', 'test'],
  )
  assert.equal(bench.admission.stats().refused['queue-full'], 1)
})

test('one that waited for the timeout is refused then, and not before', async (t) => {
  const bench = await Bench.open(t)
  await bench.send('a')
  const { answer } = await bench.send('b')
  await bench.clock.advance(99)
  assert.equal(bench.admission.stats().queued, 1)
  const late = await bench.send('c')
  await bench.clock.advance(1)
  assert.equal((await answer).status, 503)
  assert.equal(detail(await answer), 'the request waited in the queue for as long as one may')
  assert.equal(bench.admission.stats().queued, 1)
  await bench.clock.advance(99)
  assert.equal((await late.answer).status, 503)
  assert.equal(bench.admission.stats().refused['queue-timeout'], 2)
  assert.deepEqual(bench.started, ['a'])
})

test('the queue needs one timer, however many wait', async (t) => {
  const bench = await Bench.open(t, { queueLength: 50 })
  await bench.send('a')
  await bench.send('b')
  const before = bench.clock.pending
  for (let i = 0; i < 20; i++) await bench.send('more')
  assert.equal(bench.clock.pending, before)
})

test('one whose client goes leaves the queue and is never started', async (t) => {
  const bench = await Bench.open(t)
  await bench.send('a')
  const socket = await dial(bench.port)
  socket.write(requestBytes('/b'))
  await until('b waits', () => bench.admission.stats().queued === 1)
  socket.destroy()
  await until('b has left', () => bench.admission.stats().queued === 0)
  assert.equal(bench.admission.stats().withdrawn, 1)
  bench.end('a')
  await until('a has ended', () => bench.admission.stats().inFlight === 0)
  assert.deepEqual(bench.started, ['a'])
})

test('the deadline of a request passes in the queue, too', async (t) => {
  const bench = await Bench.open(t)
  await bench.send('a')
  const { answer } = await bench.send('b', { 'Request-Timeout-Ms': '30' })
  await bench.clock.advance(30)
  assert.equal((await answer).status, 504)
  assert.equal(bench.admission.stats().queued, 0)
  assert.equal((await bench.get('c', { 'Request-Timeout-Ms': 'soon' })).status, 400)
  assert.equal(bench.admission.stats().queued, 0)
})

test('a critical request takes the place of a sheddable one, and is served first', async (t) => {
  const bench = await Bench.open(t, { queueLength: 2 })
  await bench.send('a')
  const normal = await bench.send('normal')
  const sheddable = await bench.send('sheddable', { Priority: 'sheddable' })
  const critical = await bench.send('critical', { Priority: 'critical' })
  assert.equal(detail(await sheddable.answer), 'a request of higher priority took its place in the queue')
  for (const name of ['a', 'critical', 'normal']) {
    await until(`${name} runs`, () => bench.started.at(-1) === name)
    bench.end(name)
  }
  assert.deepEqual([(await critical.answer).status, (await normal.answer).status], [200, 200])
  assert.equal(bench.admission.stats().refused.displaced, 1)
})

test('an unknown priority is a mistake that names the header, its value and what is accepted', async (t) => {
  const bench = await Bench.open(t)
  const answer = await bench.get('a', { Priority: 'urgent' })
  assert.equal(answer.status, 400)
  assert.equal(detail(answer), 'priority: got "urgent"; accepted: one of critical, normal, sheddable')
  assert.equal(bench.admission.stats().inFlight, 0)
})

test('without a header configured nobody is more important', async (t) => {
  const bench = await Bench.open(t, { priorityHeader: undefined, queueLength: 1 })
  await bench.send('a')
  await bench.send('b', { Priority: 'sheddable' })
  assert.equal((await bench.get('c', { Priority: 'critical' })).status, 503)
  assert.equal((await bench.get('d', { Priority: 'urgent' })).status, 503)
})

test('a slot is given back however its request ends', async (t) => {
  const bench = await Bench.open(t, { queueLength: 0 })
  const missing = await bench.get('no/such/route')
  assert.equal(missing.status, 404)
  const socket = await dial(bench.port)
  socket.write(requestBytes('/a'))
  await until('a runs', () => bench.started.length === 1)
  socket.destroy()
  bench.end('a')
  await until('a has ended', () => bench.admission.stats().inFlight === 0)
})

/** Sends requests over one connection each, all in one turn of the event loop as far as can be. */
const flood = async (bench: Bench, names: readonly string[]): Promise<() => Promise<number[]>> => {
  const sockets = await Promise.all(names.map(() => dial(bench.port)))
  const received = sockets.map((socket) => collect(socket))
  for (const [i, socket] of sockets.entries()) socket.write(requestBytes(`/${names[i]}`))
  return async () => (await Promise.all(received)).flatMap((bytes) => readAnswers(bytes).map(({ status }) => status))
}

const statuses = (list: readonly number[], status: number): number => list.filter((other) => other === status).length

test('handlers that hold the event loop are queued, refused beyond the queue, and started one per turn', async (t) => {
  const bench = await Bench.open(t, { maxInFlight: 100, queueLength: 4, queueTimeoutMs: 1_000 })
  const answers = await flood(
    bench,
    Array.from({ length: 20 }, () => 'block15'),
  )
  await until('all are known', () => {
    const { accepted, queued, refused } = bench.admission.stats()
    return accepted + queued + refused['queue-full'] === 20
  })
  // Three long stretches tell that they prevail.
  assert.deepEqual(bench.started.length, 3)
  assert.deepEqual([bench.admission.stats().queued, bench.turns.length], [4, 1])
  for (let turn = 1; turn <= 4; turn++) {
    bench.turns.shift()!()
    await until('one more has run', () => bench.started.length === 3 + turn)
    assert.equal(bench.turns.length, 1)
  }
  bench.turns.shift()!()
  assert.equal(bench.turns.length, 0)
  const list = await answers()
  assert.deepEqual([statuses(list, 200), statuses(list, 503)], [7, 13])
  assert.equal(bench.admission.stats().inFlight, 0)
})

test('a critical one does not wait for its turn where there is no queue', async (t) => {
  const bench = await Bench.open(t, { maxInFlight: 100, queueLength: 0 })
  for (let i = 0; i < 4; i++) await bench.get('block15')
  assert.equal((await bench.get('block0')).status, 503)
  assert.equal((await bench.get('block0', { Priority: 'critical' })).status, 200)
  bench.turns.shift()!()
  assert.equal((await bench.get('block0')).status, 200)
})

test('one long stretch among short ones is no reason to refuse anybody', async (t) => {
  const bench = await Bench.open(t, { maxInFlight: 100, queueLength: 0 })
  for (let i = 0; i < 5; i++) {
    const answers = await flood(bench, ['block200', ...Array.from({ length: 20 }, () => 'block0')])
    assert.equal(statuses(await answers(), 200), 21)
    await bench.clock.advance(100)
  }
  assert.equal(bench.turns.length, 0)
})

test('a few that go at the pace of their clients do not move the adaptive limit', async () => {
  const clock = new JumpingClock()
  const admission = createAdmission({ ...config, mode: 'adaptive', maxInFlight: 1_000 }, { clock })!
  const start = (handle: (ctx: ServiceContext) => void): (() => void) => {
    const ctx = { req: { socket: new EventEmitter(), rawHeaders: [] }, app: {}, begunAtMs: 0, requestedMs: 0 } as never
    void admission.middleware(ctx, () => Promise.resolve(handle(ctx)))
    return () => (ctx as ServiceContext).permit!.release(ctx)
  }
  const uploads: (() => void)[] = []
  // 1,000 requests of 1 ms in a second, and from then on 20 uploads of 2 s at a time.
  for (let ms = 0; ms < 8_000; ms++) {
    if (ms > 1_000 && ms % 100 === 0) uploads.push(start((ctx) => void unhurriedCancellation(ctx)))
    const end = start(() => {})
    clock.jump(1)
    end()
    if (uploads.length === 20 && ms % 100 === 99) uploads.shift()!()
  }
  assert.deepEqual([admission.stats().limit, admission.stats().queued], [1_000, 0])
})

const traced = { traced: 'yes' }

const tenths = (seconds: number): number => Math.round(seconds * 1e6) / 1e5

test('the integrals grow by one a second for each request that is served, or waits', async (t) => {
  const bench = await Bench.open(t, { queueTimeoutMs: 10_000 })
  const a = await bench.send('a')
  await bench.clock.advance(100)
  const b = await bench.send('b')
  await bench.clock.advance(200)
  bench.end('a')
  await a.answer
  await until('b runs', () => bench.started.includes('b'))
  await bench.clock.advance(400)
  const { inFlight, queued, waits } = bench.meter
  const nowMs = bench.clock.now()
  assert.deepEqual([inFlight.seconds(nowMs), queued.seconds(nowMs), waits.sum].map(tenths), [7, 2, 2])
  bench.end('b')
  await b.answer
  await bench.clock.advance(100)
  assert.deepEqual([tenths(inFlight.seconds(bench.clock.now())), inFlight.value, queued.value], [7, 0, 0])
})

test('a handler that ends in the turn in which it began was in flight for as long as it took', async (t) => {
  const bench = await Bench.open(t)
  await bench.get('block5')
  await bench.clock.advance(1_000)
  await bench.get('block3')
  await bench.clock.advance(1_000)
  const { inFlight, waits } = bench.meter
  assert.deepEqual([inFlight.seconds(bench.clock.now()), inFlight.value, waits.sum], [0.008, 0, 0])
})

test('a request that waits shows how long, and what became of it; one that does not wait shows nothing', async (t) => {
  const bench = await Bench.open(t, { queueLength: 2, queueTimeoutMs: 100 })
  const a = await bench.send('a', traced)
  const b = await bench.send('b', traced)
  await bench.clock.advance(30)
  const c = await bench.send('c', { ...traced, priority: 'sheddable' })
  await bench.clock.advance(10)
  const d = await bench.send('d', traced)
  bench.end('a')
  await a.answer
  await until('b runs', () => bench.started.includes('b'))
  await bench.clock.advance(100)
  assert.deepEqual([(await c.answer).status, (await d.answer).status], [503, 503])
  bench.end('b')
  await b.answer
  const seen = bench.traces.map(({ spans }) =>
    spans.map((span) => [...told(span), span.attributes!['plimsoll.outcome']]),
  )
  assert.deepEqual(seen, [
    [],
    [['admission queue', 0, 40, undefined, 'started']],
    [['admission queue', 30, 40, 'displaced', 'displaced']],
    [['admission queue', 40, 140, 'queue-timeout', 'queue-timeout']],
  ])
  assert.equal(bench.meter.queued.value, 0)
})

test('a request whose client leaves the queue has waited until then', async (t) => {
  const bench = await Bench.open(t)
  await bench.send('a')
  const socket = await dial(bench.port)
  socket.write(requestBytes('/b', { headers: traced }))
  await until('b waits', () => bench.admission.stats().queued === 1)
  await bench.clock.advance(20)
  socket.destroy()
  await until('b has left', () => bench.meter.queued.value === 0)
  assert.deepEqual(bench.traces[0]!.spans.map(told), [['admission queue', 0, 20, 'withdrawn']])
})

test('a request whose deadline cannot be read leaves nothing behind in the integrals', async (t) => {
  const bench = await Bench.open(t)
  await bench.send('a')
  const { status } = await bench.get('b', { 'request-timeout-ms': 'soon' })
  assert.equal(status, 400)
  assert.deepEqual([bench.meter.queued.value, bench.admission.stats().queued], [0, 0])
})
