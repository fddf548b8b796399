import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { isFree } from '../../src/lab/fleet/ports.ts'
import { runUp, type Up, type UpOptions } from '../../src/lab/fleet/up.ts'

const port = 19_100 + ((process.pid * 16) % 800)

const options = (overrides: Partial<UpOptions>, env: UpOptions['env'] = {}): UpOptions => ({
  command: [process.execPath, fileURLToPath(new URL('../fixtures/stand-in.ts', import.meta.url))],
  env: { DATABASE_URL: 'postgresql://u:secret@127.0.0.1/x', ...env },
  replicas: 2,
  host: '127.0.0.1',
  port,
  databasePort: 5433,
  dataDir: '/not/used',
  note: () => {},
  onReady: () => assert.fail('it must not get ready'),
  signal: new AbortController().signal,
  ...overrides,
})

test('it runs until told to stop, on the database it is given, and leaves nothing behind', async () => {
  const stop = new AbortController()
  let up: Up | undefined
  const onReady = (running: Up): void => {
    up = running
    stop.abort()
  }
  await runUp(options({ onReady, signal: stop.signal }))
  assert.equal(up?.database.url, 'postgresql://u:secret@127.0.0.1/x')
  assert.equal(up?.replicas.length, 2)
  for (const { url } of up.replicas) assert.ok(await isFree(Number(new URL(url).port), '127.0.0.1'))
})

test('when the migration fails, no replica is started and its words are passed on', async () => {
  await assert.rejects(runUp(options({}, { STAND_IN: 'fail-migrate' })), {
    code: 'migrate_failed',
    message: /^plimsoll migrate exited with code 1\n[^]*asked to fail to migrate/,
  })
})

test('told to stop in the middle of its start, it ends normally and leaves nothing behind', async () => {
  await runUp(options({ signal: AbortSignal.timeout(600) }, { STAND_IN: 'hang' }))
  assert.ok(await isFree(port, '127.0.0.1'))
})

test('told to stop before its start, it starts nothing', async () => {
  await runUp(options({ signal: AbortSignal.abort() }, { STAND_IN: 'fail-migrate' }))
})
