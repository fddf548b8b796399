import assert from 'node:assert/strict'
import { Agent, get, type IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import { runCli, serve } from '../support/cli.ts'
import { until } from '../support/until.ts'

const status = (url: string): Promise<number> => fetch(url).then((answer) => answer.status)

const refused = (url: string): Promise<boolean> =>
  fetch(url).then(
    () => false,
    () => true,
  )

test('a service without a database is started, ready and alive at once', async () => {
  await using service = await serve([])
  for (const probe of ['startupz', 'readyz', 'livez']) {
    assert.equal(await status(`${service.adminUrl}/${probe}`), 200, probe)
  }
})

test('SIGTERM: not ready and Connection: close while still listening, then in-flight work is finished, then exit 0', async () => {
  await using service = await serve([], { DRAIN_DELAY_MS: '400' })
  const inFlight = fetch(`${service.url}/work/wait?ms=1200`)
  await sleep(100)
  service.process.kill('SIGTERM')
  await until('readiness is gone', async () => (await status(`${service.adminUrl}/readyz`)) === 503)
  const during = await fetch(`${service.url}/json`)
  assert.equal(during.status, 200)
  assert.equal(during.headers.get('connection'), 'close')
  assert.equal(await status(`${service.adminUrl}/livez`), 200)
  await until('the port is closed', () => refused(`${service.url}/json`), 2_000)
  assert.equal((await inFlight).status, 200)
  assert.equal(await service.exit, 0)
})

test('an idle keep-alive connection does not hold the drain up', async () => {
  await using service = await serve([])
  const agent = new Agent({ keepAlive: true })
  const answer = await new Promise<IncomingMessage>((resolve) => get(`${service.url}/json`, { agent }, resolve))
  answer.resume()
  await until('the answer is read', () => answer.complete)
  const asked = performance.now()
  service.process.kill('SIGTERM')
  assert.equal(await service.exit, 0)
  assert.ok(performance.now() - asked < 1_500)
  agent.destroy()
})

test('work that outlasts the drain timeout is cut, and the process still exits 0', async () => {
  await using service = await serve([], { DRAIN_TIMEOUT_MS: '200' })
  const cut = assert.rejects(fetch(`${service.url}/work/wait?ms=30000`))
  const thread = assert.rejects(fetch(`${service.url}/work/thread?ms=30000`))
  await sleep(300)
  service.process.kill('SIGTERM')
  await Promise.all([cut, thread])
  assert.equal(await service.exit, 0)
})

test('a second signal exits at once', async () => {
  await using service = await serve([], { DRAIN_DELAY_MS: '20000' })
  service.process.kill('SIGINT')
  await until('readiness is gone', async () => (await status(`${service.adminUrl}/readyz`)) === 503)
  await sleep(300)
  service.process.kill('SIGINT')
  assert.equal(await service.exit, 130)
})

test('one Ctrl-C that comes twice, from the terminal and from npm, is one signal', async () => {
  await using service = await serve([], { DRAIN_DELAY_MS: '400' })
  service.process.kill('SIGINT')
  service.process.kill('SIGINT')
  assert.equal(await service.exit, 0)
})

test('wrong environment: all mistakes named at once, exit 2, nothing started', async () => {
  const { code, stdout, stderr } = await runCli(['serve', '--workers', 'many'], {
    PORT: '99999',
    DRAIN_DELAY_MS: '-1',
    DATABASE_URL: 'mysql://user:canary-secret@host/db',
  })
  assert.equal(code, 2)
  assert.equal(stdout, '')
  for (const field of ['PORT', 'WORKERS', 'DRAIN_DELAY_MS', 'DATABASE_URL'])
    assert.match(stderr, new RegExp(`^${field}: got`, 'm'))
  assert.doesNotMatch(stderr, /canary-secret/)
})

test('an unknown flag and an unknown command: exit 2', async () => {
  assert.equal((await runCli(['serve', '--nonsense'])).code, 2)
  assert.equal((await runCli(['nonsense'])).code, 2)
})

test('a port in use: exit 1 and the port named', async () => {
  await using service = await serve([])
  const { code, stderr } = await runCli(['serve'], {
    PORT: new URL(service.url).port,
    HOST: '127.0.0.1',
    ADMIN_PORT: '0',
  })
  assert.equal(code, 1)
  assert.match(stderr, new RegExp(new URL(service.url).port))
})
