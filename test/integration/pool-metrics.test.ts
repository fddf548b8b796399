/** What the pool of connections counts, with a real PostgreSQL, and with a server that says nothing. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import { Failure } from '../../src/kit/errors.ts'
import { processClock } from '../../src/kit/timers.ts'
import { SessionPool } from '../../src/service/db/pool.ts'
import { StatementTelemetry } from '../../src/service/telemetry/statements.ts'
import { freshDatabase } from '../support/postgres.ts'

const limits = { timeout: 60_000 }

type Observed = { readonly pool: SessionPool; readonly telemetry: StatementTelemetry }

const observed = (url: string, acquireTimeoutMs: number): Observed => {
  const telemetry = new StatementTelemetry({ url, clock: processClock })
  const pool = new SessionPool({
    connection: { connectionString: url },
    size: 1,
    maxWaiting: 0,
    acquireTimeoutMs,
    statementTimeoutMs: 5_000,
    onIdleError: () => {},
    observer: telemetry,
  })
  return { pool, telemetry }
}

const waited = ({ waits }: StatementTelemetry): number => waits.counts.reduce((sum, count) => sum + count, 0)

/** A port that takes connections and never says a word, as behind a firewall that swallows packets. */
const silentPort = async (t: TestContext): Promise<number> => {
  const sockets: Socket[] = []
  const server = createServer((socket) => void sockets.push(socket.on('error', () => {})))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

test('a connection that is not made in time is a timeout of the pool', limits, async (t) => {
  const { pool, telemetry } = observed(`postgres://user:word@127.0.0.1:${await silentPort(t)}/shop`, 200)
  t.after(() => pool.end())
  await assert.rejects(
    pool.lend(() => Promise.resolve()),
    { code: 'database-unavailable' },
  )
  assert.equal(pool.stats.timeouts, 1)
  assert.deepEqual([waited(telemetry), telemetry.pending.value, telemetry.used.value], [1, 0, 0])
})

test('who is turned away at once is not among those that waited', limits, async (t) => {
  const { pool, telemetry } = observed(await freshDatabase(), 5_000)
  t.after(() => pool.end())
  const held = Promise.withResolvers<void>()
  const lent = Promise.withResolvers<void>()
  const holding = pool.lend(() => {
    lent.resolve()
    return held.promise
  })
  await lent.promise
  const refused = await pool.lend(() => Promise.resolve()).catch((why: unknown) => why)
  const counted = [waited(telemetry), telemetry.pending.value, pool.stats.timeouts]
  held.resolve()
  await holding
  assert.ok(refused instanceof Failure && refused.code === 'database-busy', String(refused))
  assert.deepEqual(counted, [1, 0, 0])
  assert.equal(telemetry.used.value, 0)
})
