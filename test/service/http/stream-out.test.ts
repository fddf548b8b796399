import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { PassThrough, Readable } from 'node:stream'
import { test } from 'node:test'
import { processClock } from '../../../src/kit/timers.ts'
import type { ServiceContext } from '../../../src/service/http/lean-koa.ts'
import { streamOut } from '../../../src/service/http/stream-out.ts'
import { collect, dial, exchange, listen, readAnswers, requestBytes } from '../../support/http.ts'

const contextOf = (req: IncomingMessage, res: ServerResponse): ServiceContext =>
  ({ req, res, app: { setStandardHeaders: () => {} } }) as unknown as ServiceContext

const send = (req: IncomingMessage, res: ServerResponse, content: Readable): Promise<unknown> =>
  streamOut(contextOf(req, res), content, { idleTimeoutMs: 5_000, clock: processClock })

const answerLate = (res: ServerResponse): void => void res.writeHead(504, { 'Content-Length': 4 }).end('late')

test('a stream that fails cuts the connection and is told', async () => {
  const failure = new Error('the storage is gone')
  const told = Promise.withResolvers<unknown>()
  const content = new PassThrough()
  await using server = await listen((req, res) => {
    told.resolve(send(req, res, content))
    content.write('some', () => content.destroy(failure))
  })
  const [answer] = readAnswers(await exchange(server.port, requestBytes('/')))
  assert.deepEqual([answer?.whole, await told.promise], [false, failure])
})

test('what was answered while its stream was being opened or had no byte yet keeps that answer, and no stream has failed', async () => {
  for (const answerWhen of ['before', 'after'] as const) {
    const told = Promise.withResolvers<unknown>()
    const content = new PassThrough()
    const wait = Promise.withResolvers<void>()
    await using server = await listen((req, res) => {
      if (req.url === '/first') {
        void wait.promise.then(() => res.end())
        return
      }
      if (answerWhen === 'before') answerLate(res)
      told.resolve(send(req, res, content))
      if (answerWhen === 'after') answerLate(res)
      content.write('content')
    })
    const socket = await dial(server.port)
    const received = collect(socket)
    // Behind another one the answer stays unsent, as it does behind a client that is slow to read.
    socket.write(Buffer.concat([requestBytes('/first', { headers: { Connection: 'keep-alive' } }), requestBytes('/')]))
    assert.equal(await told.promise, undefined, answerWhen)
    assert.ok(content.destroyed)
    wait.resolve()
    assert.equal(readAnswers(await received)[1]?.body.toString(), 'late', answerWhen)
  }
})

test('a stream whose client went before it began is destroyed at once, also while it has no byte', async () => {
  const told = Promise.withResolvers<unknown>()
  const content = new PassThrough()
  await using server = await listen((req, res) => {
    res.once('close', () => setImmediate(() => told.resolve(send(req, res, content))))
  })
  const socket = await dial(server.port)
  socket.write(requestBytes('/'))
  await once(server.server, 'request')
  socket.destroy()
  assert.equal(await told.promise, undefined)
  assert.ok(content.destroyed)
})
