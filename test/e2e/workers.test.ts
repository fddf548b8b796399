import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import { serve, type Serving } from '../support/cli.ts'
import { until } from '../support/until.ts'

const instanceOf = async (url: string): Promise<string | null> => {
  const answer = await fetch(`${url}/json`, { headers: { connection: 'close' } })
  await answer.arrayBuffer()
  return answer.headers.get('plimsoll-instance')
}

/** Who answers that many requests at once; a request that is reset counts for nobody. */
const instances = async (url: string, requests: number): Promise<Set<string | null>> => {
  const answers = await Promise.allSettled(Array.from({ length: requests }, () => instanceOf(url)))
  return new Set(answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : [])))
}

const ready = (service: Serving): Promise<boolean> =>
  until('ready', async () => (await fetch(`${service.adminUrl}/readyz`)).status === 200)

const started = (service: Serving): Promise<boolean> =>
  until('started', async () => (await fetch(`${service.adminUrl}/startupz`)).status === 200)

/** Processes whose parent is `pid`. */
const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number)

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test('three workers serve one port and name themselves', async () => {
  await using service = await serve(['--workers', '3'])
  await started(service)
  assert.deepEqual(
    [...(await instances(service.url, 30))].map(String).toSorted((a, b) => a.localeCompare(b)),
    ['e2e/1', 'e2e/2', 'e2e/3'],
  )
  service.process.kill('SIGTERM')
  assert.equal(await service.exit, 0)
})

test('a worker that is killed is replaced within 2 s under its old name, and nothing hangs meanwhile', async () => {
  await using service = await serve(['--workers', '2'])
  await started(service)
  const before = childrenOf(service.process.pid!)
  assert.equal(before.length, 2)
  const died = performance.now()
  process.kill(before[0]!, 'SIGKILL')
  await until('both answer again', async () => (await instances(service.url, 20)).size === 2, 2_000)
  assert.ok(performance.now() - died < 2_000)
  assert.equal(await ready(service), true)
})

test('the parent drains all workers: in-flight work is finished, no process is left', async () => {
  await using service = await serve(['--workers', '2'])
  await started(service)
  const children = childrenOf(service.process.pid!)
  const inFlight = Array.from({ length: 6 }, () => fetch(`${service.url}/work/wait?ms=700`))
  await sleep(200)
  service.process.kill('SIGTERM')
  const statuses = await Promise.all(inFlight.map(async (answer) => (await answer).status))
  assert.deepEqual(statuses, [200, 200, 200, 200, 200, 200])
  assert.equal(await service.exit, 0)
  assert.deepEqual(children.filter(isAlive), [])
})

test('workers do not outlive a parent that is killed', async () => {
  await using service = await serve(['--workers', '2'])
  await started(service)
  const children = childrenOf(service.process.pid!)
  service.process.kill('SIGKILL')
  await service.exit
  await until('the workers are gone', () => children.every((pid) => !isAlive(pid)))
})

test('one worker that blocks its event loop does not take the other with it', async () => {
  await using service = await serve(['--workers', '2'])
  await started(service)
  const blocked = fetch(`${service.url}/work/block?ms=1500`)
  await sleep(100)
  assert.equal((await fetch(`${service.adminUrl}/livez`)).status, 200)
  assert.equal((await blocked).status, 200)
})
