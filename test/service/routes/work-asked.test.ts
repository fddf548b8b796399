import assert from 'node:assert/strict'
import { test } from 'node:test'
import { assemble } from '../../../src/service/app.ts'
import { parseConfig } from '../../../src/service/config.ts'
import { Deadlines } from '../../../src/service/http/deadlines.ts'
import type { ServiceMiddleware } from '../../../src/service/http/lean-koa.ts'
import type { Route, RouteDeps } from '../../../src/service/routes/route.ts'
import { workCpu } from '../../../src/service/routes/work-cpu.ts'
import { workGather } from '../../../src/service/routes/work-gather.ts'
import { workMemory } from '../../../src/service/routes/work-memory.ts'
import { workMix } from '../../../src/service/routes/work-mix.ts'
import { workQuery } from '../../../src/service/routes/work-query.ts'
import { workWait } from '../../../src/service/routes/work-wait.ts'
import type { Clock } from '../../../src/kit/timers.ts'
import { listen, type Listening, request } from '../../support/http.ts'
import { testBuild } from '../../support/service.ts'

const config = parseConfig({}, testBuild)

/** Its waits are over at once. */
const hurried: Clock = { now: () => 0, setTimeout: (act) => setImmediate(act), clearTimeout: clearImmediate }

const nothing = (): Promise<object> => Promise.resolve({})

/** The routes of work with nothing behind them, on a clock. */
const serve = (clock: Clock, before: readonly ServiceMiddleware[] = []): Promise<Listening> => {
  const deps = { config, clock, threads: { cpu: nothing, sleep: nothing }, database: { runLong: nothing } }
  const routes: readonly Route[] = [workWait, workGather, workCpu, workQuery, workMix, workMemory]
  const deadlines = new Deadlines({ ...config.deadline, clock })
  return listen(assemble({ deadlines }, routes, deps as unknown as RouteDeps, before).callback())
}

const asked: readonly (readonly [target: string, ms: number])[] = [
  ['/work/wait?ms=70', 70],
  ['/work/gather?ms=20,30,10', 30],
  ['/work/cpu?ms=70', 70],
  ['/work/block?ms=3', 3],
  ['/work/thread?ms=70', 70],
  ['/work/query?ms=70', 70],
  ['/work/mix?wait=30&cpu=4', 34],
  ['/work/memory?mb=1&ms=70', 70],
]

for (const [target, ms] of asked) {
  test(`${target} tells that it was asked to take ${ms} ms`, async () => {
    let requestedMs = 0
    const look: ServiceMiddleware = async (ctx, next) => {
      await next()
      requestedMs = ctx.requestedMs
    }
    await using service = await serve(hurried, [look])
    assert.equal((await request(service.port, target)).status, 200)
    assert.equal(requestedMs, ms)
  })
}

test('a request with mistakes has asked for no time', async () => {
  let requestedMs = -1
  const look: ServiceMiddleware = async (ctx, next) => {
    await next().finally(() => (requestedMs = ctx.requestedMs))
  }
  await using service = await serve(hurried, [look])
  assert.equal((await request(service.port, '/work/wait?ms=-1')).status, 400)
  assert.equal(requestedMs, 0)
})

test(
  'work that blocks the event loop stops at the deadline, though no timer can fire',
  { timeout: 20_000 },
  async () => {
    let nowMs = 0
    // A millisecond passes whenever the time is looked at, and no timer has its turn.
    const ticking: Clock = { now: () => (nowMs += 1), setTimeout: () => undefined, clearTimeout: () => {} }
    await using service = await serve(ticking)
    const answer = await request(service.port, '/work/block?ms=60000', { headers: { 'Request-Timeout-Ms': '50' } })
    assert.equal(answer.status, 504)
    assert.equal((JSON.parse(answer.body.toString()) as { readonly code: string }).code, 'deadline-exceeded')
    assert.ok(nowMs >= 50 && nowMs < 60, `stopped at ${nowMs} ms`)
  },
)
