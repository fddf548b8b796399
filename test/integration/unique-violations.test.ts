import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Database } from '../../src/service/db/database.ts'
import { migrate } from '../../src/service/db/migrate.ts'
import { createItem } from '../../src/service/db/queries/create-item.ts'
import type { Session } from '../../src/service/db/pool.ts'
import { statement } from '../../src/service/db/statement.ts'
import { freshDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'

const processId = statement<number, []>('process-id', 'select pg_backend_pid()', ([pid]) => Number(pid))

const id = '01900000-0000-7000-8000-000000000000'
const violate = (session: Session): Promise<unknown> => session.run(createItem, [id, 'again', '', 0])

const isUniqueViolation = (error: unknown): boolean => (error as { code?: string }).code === '23505'

test('a thousand unique violations cost no connection: the same server processes serve on', async (t) => {
  const url = await freshDatabase()
  await migrate(url)
  const events: string[] = []
  const database = new Database({
    url,
    applicationName: 'violations',
    pipelines: 1,
    poolSize: 1,
    maxWaiting: 1_000,
    acquireTimeoutMs: 10_000,
    statementTimeoutMs: 5_000,
    onEvent: (event) => events.push(event),
  })
  t.after(() => database[Symbol.asyncDispose]())
  await database.open()
  await until('reachable', () => database.reachable)
  await violate(database)
  const pids = async (): Promise<unknown> => [
    await database.run(processId, []),
    await database.transaction((session) => session.run(processId, [])),
  ]
  const before = await pids()
  const outcomes = await Promise.allSettled([
    ...Array.from({ length: 500 }, () => violate(database)),
    ...Array.from({ length: 500 }, () => database.transaction(violate)),
  ])
  for (const outcome of outcomes) assert.ok(outcome.status === 'rejected' && isUniqueViolation(outcome.reason))
  assert.equal(outcomes.length, 1_000)
  assert.deepEqual(await pids(), before)
  assert.deepEqual(events, ['reachable'])
})
