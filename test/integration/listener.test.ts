import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Failure } from '../../src/kit/errors.ts'
import { Listener } from '../../src/service/db/listener.ts'
import { sqlOn } from '../support/client.ts'
import { openLink } from '../support/link.ts'
import { freshDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'

const databaseUrl = await freshDatabase()
const limits = { timeout: 20_000 }
const patienceMs = 300

type Open = { readonly listener: Listener; readonly events: string[]; readonly heard: string[] }

const open = (t: TestContext, { url = databaseUrl, name = t.name.slice(0, 40) } = {}): Open => {
  const events: string[] = []
  const heard: string[] = []
  const listener = new Listener({
    connection: { connectionString: url, application_name: name },
    channel: 'a channel',
    patienceMs,
    onMessage: (message) => heard.push(message),
    onUp: () => events.push('up'),
    onGap: () => events.push('gap'),
  })
  t.after(() => listener.end())
  return { listener, events, heard }
}

const isUp = ({ events }: Open): Promise<boolean> => until('up', () => events.at(-1) === 'up')

const sql = sqlOn(databaseUrl)

const kill = (name: string): Promise<unknown> =>
  sql('select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1', [name])

const isUnavailable = (error: unknown): boolean => error instanceof Failure && error.code === 'database-unavailable'

test('a message reaches every listener, its sender too, in the order of sending', limits, async (t) => {
  const one = open(t, { name: 'one' })
  const two = open(t, { name: 'two' })
  await Promise.all([isUp(one), isUp(two)])
  const messages = Array.from({ length: 50 }, (_, i) => `message ${i} ⚓`)
  for (const message of messages) await one.listener.notify(message)
  await until('all are heard', () => two.heard.length === 50)
  assert.deepEqual(two.heard, messages)
  assert.deepEqual(one.heard, messages)
})

test('a connection that is killed is a gap, and is made again within a second', limits, async (t) => {
  const listening = open(t, { name: 'victim' })
  await isUp(listening)
  await kill('victim')
  await until('gap', () => listening.events.length > 1)
  const start = performance.now()
  await isUp(listening)
  assert.ok(performance.now() - start < 1_000)
  assert.deepEqual(listening.events, ['up', 'gap', 'up'])
  await listening.listener.notify('again')
  await until('heard', () => listening.heard.includes('again'))
})

test('a network that loses everything in silence is a gap within three times the patience', limits, async (t) => {
  await using link = await openLink(databaseUrl)
  const listening = open(t, { url: link.url })
  await isUp(listening)
  const start = performance.now()
  link.freeze()
  await until('gap', () => listening.events.at(-1) === 'gap')
  const noticedMs = performance.now() - start
  assert.ok(noticedMs < 3 * patienceMs, `${noticedMs} ms`)
  await sleep(1_000)
  link.thaw()
  await isUp(listening)
  assert.deepEqual(listening.events, ['up', 'gap', 'up'])
})

test('a message that cannot be sent fails within the patience, and means a gap', limits, async (t) => {
  await using link = await openLink(databaseUrl)
  const listening = open(t, { url: link.url })
  await isUp(listening)
  link.freeze()
  const start = performance.now()
  await assert.rejects(listening.listener.notify('lost'), Error)
  assert.ok(performance.now() - start < 2 * patienceMs)
  assert.equal(listening.events.at(-1), 'gap')
  await assert.rejects(listening.listener.notify('refused'), isUnavailable)
})

test('without a server it is a gap that is told once, however often it tries', limits, async (t) => {
  const listening = open(t, { url: 'postgres://nobody@127.0.0.1:1/nothing' })
  await sleep(700)
  assert.deepEqual(listening.events, ['gap'])
})

test('ending closes the connection, also while it is being made', limits, async (t) => {
  const up = open(t, { name: 'ending' })
  await isUp(up)
  await up.listener.end()
  const early = open(t, { name: 'ending' })
  await early.listener.end()
  const left = async (): Promise<number> =>
    (await sql(`select 1 from pg_stat_activity where application_name = 'ending'`)).length
  await until('no connection', async () => (await left()) === 0)
  assert.deepEqual(early.events, [])
  assert.deepEqual(up.events, ['up'])
})
