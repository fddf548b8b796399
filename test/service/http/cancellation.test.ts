import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test, type TestContext } from 'node:test'
import { Failure } from '../../../src/kit/errors.ts'
import { processClock } from '../../../src/kit/timers.ts'
import { cancellation, unhurriedCancellation } from '../../../src/service/http/cancellation.ts'
import { Deadlines } from '../../../src/service/http/deadlines.ts'
import { LeanKoa, type ServiceMiddleware } from '../../../src/service/http/lean-koa.ts'
import { answerProblem } from '../../../src/service/http/problem.ts'
import { collect, dial, exchange, listen, readAnswers, request, requestBytes } from '../../support/http.ts'
import { until } from '../../support/until.ts'
import { VirtualClock } from '../work/virtual-clock.ts'

const header = 'request-timeout-ms'

type Serving = { readonly port: number; readonly clock: VirtualClock; readonly logged: unknown[] }

/** Serves one handler on a virtual clock, with a default deadline of 1 s. */
const serve = async (t: TestContext, handler: ServiceMiddleware): Promise<Serving> => {
  const clock = new VirtualClock()
  const app = new LeanKoa({ deadlines: new Deadlines({ defaultMs: 1_000, header, clock }) })
  const logged: unknown[] = []
  app.context.onerror = answerProblem
  app.on('error', (error: unknown) => logged.push(error))
  app.use(handler)
  const listening = await listen(app.callback())
  t.after(() => listening[Symbol.asyncDispose]())
  return { port: listening.port, clock, logged }
}

const codeOf = (error: unknown): string | undefined => (error instanceof Failure ? error.code : undefined)

/** A promise for others to settle. */
const gate = (): PromiseWithResolvers<void> => Promise.withResolvers<void>()

test('at the deadline a handler that ignores it has its client answered 504, and its own answer is dropped', async (t) => {
  for (const late of ['reply', 'body', 'headers', 'failure'] as const) {
    const [asked, work] = [gate(), gate()]
    let ended = false
    const { port, clock, logged } = await serve(t, async (ctx) => {
      cancellation(ctx)
      asked.resolve()
      await work.promise
      ended = true
      if (late === 'reply') ctx.reply(200, 'text/plain', 'too late')
      if (late === 'body') ctx.body = { too: 'late' }
      if (late === 'headers') ctx.set('X-Too', 'late')
      if (late === 'failure') cancellation(ctx).throwIfAborted()
    })
    const answering = request(port, '/')
    await asked.promise
    await clock.advance(999)
    assert.equal(ended, false)
    await clock.advance(1)
    const answer = await answering
    assert.equal(answer.status, 504)
    assert.equal(answer.header('Content-Type'), 'application/problem+json')
    assert.equal((JSON.parse(answer.body.toString()) as { code: string }).code, 'deadline-exceeded')
    assert.ok(answer.whole)
    work.resolve()
    await until('the handler ends', () => ended)
    assert.deepEqual(logged, [])
    assert.equal(clock.pending, 0)
  }
})

test('the header shortens the deadline, and work in progress is told why it should stop', async (t) => {
  const told = Promise.withResolvers<unknown>()
  const asked = Promise.withResolvers<number>()
  const { port, clock } = await serve(t, async (ctx) => {
    const cancel = cancellation(ctx)
    cancel.addEventListener('abort', () => told.resolve(cancel.reason))
    asked.resolve(cancel.remainingMs)
    await told.promise
    cancel.throwIfAborted()
  })
  const answering = request(port, '/', { headers: { 'Request-Timeout-Ms': '30' } })
  assert.equal(await asked.promise, 30)
  await clock.advance(30)
  assert.equal(codeOf(await told.promise), 'deadline-exceeded')
  assert.equal((await answering).status, 504)
  assert.equal(clock.pending, 0)
})

test('a header that cannot be read is answered 400, naming it, its value and what is accepted', async (t) => {
  const { port } = await serve(t, (ctx) => {
    cancellation(ctx)
    ctx.reply(200, 'text/plain', 'never')
  })
  const answer = await request(port, '/', { headers: { 'Request-Timeout-Ms': 'soon' } })
  assert.equal(answer.status, 400)
  const { errors } = JSON.parse(answer.body.toString()) as { errors: { field: string; value: string }[] }
  const [error] = errors
  assert.equal(error?.field, header)
  assert.equal(error?.value, 'soon')
  assert.match(JSON.stringify(error), /whole milliseconds from 1 to 86400000/)
})

const answerInTime: ServiceMiddleware = (ctx) => {
  cancellation(ctx)
  ctx.reply(200, 'text/plain', 'in time')
}

test('an answer in time leaves nothing that could expire', async (t) => {
  const { port, clock, logged } = await serve(t, answerInTime)
  for (const headers of [{ 'Request-Timeout-Ms': '30' }, {}]) {
    assert.equal((await request(port, '/', { headers })).status, 200)
  }
  // The one timer of all default deadlines; the client's own is gone.
  assert.equal(clock.pending, 1)
  await clock.advance(2_000)
  assert.equal(clock.pending, 0)
  assert.deepEqual(logged, [])
})

test('a half-written answer is cut at the deadline: its client sees that it is not whole', async (t) => {
  const asked = gate()
  const { port, clock } = await serve(t, async (ctx) => {
    ctx.respond = false
    const cancel = cancellation(ctx)
    ctx.res.writeHead(200, { 'Content-Length': '10' })
    ctx.res.write('half')
    asked.resolve()
    await new Promise<void>((resolve) => cancel.addEventListener('abort', resolve))
  })
  const answering = request(port, '/')
  await asked.promise
  await clock.advance(1_000)
  const answer = await answering
  assert.deepEqual([answer.status, answer.whole], [200, false])
})

test('without its default deadline a request is cut by nobody but its client', async (t) => {
  const [asked, work] = [gate(), gate()]
  const { port, clock } = await serve(t, async (ctx) => {
    const cancel = unhurriedCancellation(ctx)
    assert.equal(cancel, cancellation(ctx))
    assert.equal(cancel.remainingMs, Infinity)
    asked.resolve()
    await work.promise
    cancel.throwIfAborted()
    ctx.reply(200, 'text/plain', 'at last')
  })
  const answering = request(port, '/')
  await asked.promise
  await clock.advance(100_000)
  work.resolve()
  assert.equal((await answering).status, 200)
})

/** A request that leaves its connection open. */
const head = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`

/** A handler that keeps its cancellations, and ends when they are aborted or it is told to. */
const keeping =
  (kept: Map<string, ReturnType<typeof cancellation>>, gates: Record<string, Promise<void>> = {}): ServiceMiddleware =>
  async (ctx) => {
    const cancel = cancellation(ctx)
    kept.set(ctx.path, cancel)
    const aborted = new Promise<void>((resolve) => cancel.addEventListener('abort', resolve))
    await Promise.race([aborted, gates[ctx.path] ?? aborted])
    cancel.throwIfAborted()
    ctx.reply(200, 'text/plain', ctx.path)
  }

test('when the connection closes, every request at work on it is told that its client has gone', async (t) => {
  const kept = new Map<string, ReturnType<typeof cancellation>>()
  const { port, clock, logged } = await serve(t, keeping(kept))
  const socket = await dial(port)
  socket.write(head('/1') + head('/2') + head('/3'))
  await until('all three are at work', () => kept.size === 3)
  socket.destroy()
  await until('all are told', () => [...kept.values()].every(({ aborted }) => aborted))
  for (const { reason } of kept.values()) assert.equal(codeOf(reason), 'client-closed-request')
  await clock.advance(5_000)
  assert.equal(clock.pending, 0)
  assert.deepEqual(logged, [])
})

test('of pipelined requests each has its own deadline, and one that has ended is told nothing', async (t) => {
  const kept = new Map<string, ReturnType<typeof cancellation>>()
  const second = gate()
  const { port, clock } = await serve(t, keeping(kept, { '/2': second.promise }))
  const socket = await dial(port)
  const received = collect(socket)
  socket.write(head('/1') + head('/2') + head('/3', 'Request-Timeout-Ms: 30\r\nConnection: close\r\n'))
  await until('all three are at work', () => kept.size === 3)
  second.resolve()
  await clock.advance(30)
  assert.equal(codeOf(kept.get('/3')!.reason), 'deadline-exceeded')
  assert.equal(kept.get('/1')!.aborted, false)
  await clock.advance(970)
  assert.equal(codeOf(kept.get('/1')!.reason), 'deadline-exceeded')
  const answers = readAnswers(await received)
  assert.deepEqual(
    answers.map(({ status }) => status),
    [504, 200, 504],
  )
  assert.equal(kept.get('/2')!.aborted, false)
})

test('a handler that asks only after its client has gone is told at once', async (t) => {
  const [started, left] = [gate(), gate()]
  const told = Promise.withResolvers<unknown>()
  const { port } = await serve(t, async (ctx) => {
    const closed = once(ctx.req.socket, 'close')
    started.resolve()
    await left.promise
    await closed
    told.resolve(cancellation(ctx).reason)
  })
  const socket = await dial(port)
  socket.write(requestBytes('/'))
  await started.promise
  socket.destroy()
  left.resolve()
  assert.equal(codeOf(await told.promise), 'client-closed-request')
})

test('requests that follow each other on a connection leave no listener on it', async (t) => {
  const listeners: number[] = []
  const { port } = await serve(t, (ctx) => {
    cancellation(ctx)
    listeners.push(ctx.req.socket.listenerCount('close'))
    ctx.reply(200, 'text/plain', 'ok')
  })
  await exchange(port, head('/').repeat(9) + requestBytes('/').toString())
  assert.equal(listeners.length, 10)
  assert.equal(new Set(listeners).size, 1)
})

test('whoever stops listening is not told; all others are, each once', async (t) => {
  const told: number[] = []
  const asked = gate()
  const { port, clock } = await serve(t, async (ctx) => {
    const cancel = cancellation(ctx)
    const listeners = Array.from({ length: 6 }, (_, i) => () => void told.push(i))
    for (const listener of listeners) cancel.addEventListener('abort', listener)
    for (const i of [0, 1, 4]) cancel.removeEventListener('abort', listeners[i]!)
    cancel.addEventListener('abort', listeners[0]!)
    asked.resolve()
    await new Promise<void>((resolve) => cancel.addEventListener('abort', resolve))
  })
  const answering = request(port, '/')
  await asked.promise
  await clock.advance(1_000)
  await answering
  assert.deepEqual(
    told.toSorted((a, b) => a - b),
    [0, 2, 3, 5],
  )
})

const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length

test('the timer of the default deadlines does not keep a process alive', async () => {
  const deadlines = new Deadlines({ defaultMs: 60_000, header, clock: processClock })
  const app = new LeanKoa({ deadlines })
  app.use(answerInTime)
  const before = timers()
  {
    await using listening = await listen(app.callback())
    await request(listening.port, '/')
  }
  await until('no timer is left', () => timers() <= before)
})
