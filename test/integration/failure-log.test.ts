import assert from 'node:assert/strict'
import { test } from 'node:test'
import pino, { type Logger } from 'pino'
import { problems } from '../../src/contract/problems.ts'
import { assemble } from '../../src/service/app.ts'
import type { ServiceContext } from '../../src/service/http/lean-koa.ts'
import { logFailures } from '../../src/service/telemetry/failure-log.ts'
import { listen, request } from '../support/http.ts'
import { freshDatabase } from '../support/postgres.ts'
import { startTestService } from '../support/service.ts'
import { until } from '../support/until.ts'

type Line = Readonly<Record<string, unknown>>

/** A log and those of its lines that tell of errors. */
const errorLog = (): { readonly log: Logger; readonly errors: Line[] } => {
  const errors: Line[] = []
  const log = pino({ level: 'error' }, { write: (line) => errors.push(JSON.parse(line) as Line) })
  return { log, errors }
}

/** What a request is answered and logged whose statement fails: the database has no table of that name. */
const failOnce = async (env: Record<string, string>) => {
  const { log, errors } = errorLog()
  const service = await startTestService({ DATABASE_URL: await freshDatabase(), ...env }, { log })
  const answer = await fetch(`${service.url}/items`)
  const problem = (await answer.json()) as { code: string; requestId: string }
  assert.equal(answer.status, problems['internal-error'].status)
  await service[Symbol.asyncDispose]()
  return { problem, errors }
}

test('a request that failed has one line, with the error and the id that its client was told', async () => {
  const { problem, errors } = await failOnce({})
  assert.equal(errors.length, 1)
  const { msg, route, status, requestId, err } = errors[0]!
  assert.deepEqual([msg, route, status, requestId], ['request', '/items', 500, problem.requestId])
  assert.equal((err as { code: string }).code, '42P01')
})

test('so it has without telemetry', async () => {
  const { problem, errors } = await failOnce({ TELEMETRY: 'off' })
  assert.equal(errors.length, 1)
  const { msg, route, requestId, err } = errors[0]!
  assert.deepEqual([msg, route, requestId], ['request failed', '/items', problem.requestId])
  assert.equal((err as { code: string }).code, '42P01')
})

test('an error that comes when the line of its request is written has a line of its own', async () => {
  const { log, errors } = errorLog()
  let failed: ServiceContext | undefined
  const app = assemble(
    {},
    [
      (api) =>
        api.get('/late', { summary: 'a', answers: {} }, (ctx) => {
          failed = ctx
          ctx.reply(200, 'text/plain', 'ok')
        }),
    ],
    undefined,
  )
  app.observer = {
    began: () => {},
    ended: (ctx) => {
      ctx.ended = true
    },
    refused: () => {},
    traceOf: () => undefined,
  }
  logFailures(app, log)
  await using server = await listen(app.callback())
  await request(server.port, '/late')
  const ctx = await until('it has ended', () => failed?.ended === true && failed)
  ctx.onerror(new Error('too late'))
  assert.deepEqual(
    errors.map(({ msg, route, err }) => [msg, route, (err as Error).message]),
    [['request failed', '/late', 'too late']],
  )
})
