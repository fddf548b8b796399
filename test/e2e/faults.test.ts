import assert from 'node:assert/strict'
import { test } from 'node:test'
import { serve, type Serving } from '../support/cli.ts'
import { until } from '../support/until.ts'

const token = 'a-token-of-a-test'

const serveWithToken = async (env: Record<string, string> = {}): Promise<Serving> => {
  const service = await serve([], { ADMIN_TOKEN: token, ...env })
  await until('started', async () => (await fetch(`${service.adminUrl}/startupz`)).status === 200)
  return service
}

const admin = async (service: Serving, method: string, target: string, body?: object): Promise<Response> =>
  fetch(`${service.adminUrl}${target}`, {
    method,
    headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })

type Report = {
  readonly active: boolean
  readonly counts: Record<string, number>
  readonly workers: readonly Record<string, number | boolean>[]
}

const faults = async (service: Serving, plan: object): Promise<Report> => {
  const answer = await admin(service, 'PUT', '/faults', plan)
  assert.equal(answer.status, 200, await answer.clone().text())
  return (await answer.json()) as Report
}

type Seen = { readonly status: number; readonly instance: string | null }

/** One answer, on a connection of its own so that any worker may give it; undefined where the connection was cut. */
const ask = async (service: Serving): Promise<Seen | undefined> => {
  try {
    const answer = await fetch(`${service.url}/json`, { headers: { connection: 'close' } })
    await answer.arrayBuffer()
    return { status: answer.status, instance: answer.headers.get('plimsoll-instance') }
  } catch {
    return undefined
  }
}

const askOften = async (service: Serving, times: number): Promise<(Seen | undefined)[]> =>
  Promise.all(Array.from({ length: times }, () => ask(service)))

const instancesOf = (seen: readonly (Seen | undefined)[]): Set<string | null> =>
  new Set(seen.flatMap((one) => (one === undefined ? [] : [one.instance])))

test('two workers: faults are in both at once, one report adds them up, and DELETE ends them in both', async () => {
  await using service = await serveWithToken({ WORKERS: '2' })
  await faults(service, { errors: { share: 1 }, ready: false })
  assert.equal((await fetch(`${service.adminUrl}/readyz`)).status, 503)
  const failing = await askOften(service, 40)
  assert.deepEqual([...instancesOf(failing)].map(String).toSorted(), ['e2e/1', 'e2e/2'])
  assert.ok(failing.every((seen) => seen?.status === 503))
  const report = (await (await admin(service, 'GET', '/faults')).json()) as Report
  assert.equal(report.counts['failedRequests'], 40)
  assert.ok(report.workers.every(({ failedRequests }) => Number(failedRequests) > 0))
  await admin(service, 'DELETE', '/faults')
  assert.equal((await fetch(`${service.adminUrl}/readyz`)).status, 200)
  assert.ok((await askOften(service, 20)).every((seen) => seen?.status === 200))
})

for (const how of ['kill', 'exception']) {
  test(`a worker that crashes (${how}) is replaced within 2 s, and has the faults from its first request on`, async () => {
    await using service = await serveWithToken({ WORKERS: '2' })
    await faults(service, { errors: { share: 1 } })
    const answer = await admin(service, 'POST', '/faults/crash', { how, worker: 2 })
    assert.equal(answer.status, 202)
    await until('it is gone', () => service.log.some(({ msg }) => String(msg).startsWith('a worker is gone')), 1_000)
    const seen: (Seen | undefined)[] = []
    await until(
      'it is back',
      async () => {
        seen.push(...(await askOften(service, 10)))
        return instancesOf(seen.slice(-10)).has('e2e/2')
      },
      2_000,
    )
    assert.ok(seen.every((one) => one === undefined || one.status === 503))
  })
}

test('a crash of the only process by an exception: answered 202, no drain, exit code 1', async () => {
  await using service = await serveWithToken({ DRAIN_DELAY_MS: '20000' })
  assert.equal((await admin(service, 'POST', '/faults/crash')).status, 202)
  assert.equal(await service.exit, 1)
})

test('a crash of the only process by kill: answered 202, ended by SIGKILL', async () => {
  await using service = await serveWithToken({ DRAIN_DELAY_MS: '20000' })
  assert.equal((await admin(service, 'POST', '/faults/crash', { how: 'kill' })).status, 202)
  assert.equal(await service.exit, 'SIGKILL')
})

for (const WORKERS of ['1', '2']) {
  test(`POST /drain ends a replica of ${WORKERS} as SIGTERM does: in-flight work is finished, exit code 0`, async () => {
    await using service = await serveWithToken({ WORKERS })
    const inFlight = fetch(`${service.url}/work/wait?ms=700`)
    await until('it is at work', () => fetch(`${service.url}/json`).then(({ ok }) => ok))
    assert.equal((await admin(service, 'POST', '/drain')).status, 202)
    assert.equal((await inFlight).status, 200)
    assert.equal(await service.exit, 0)
  })
}

test('a leak is resident memory of the process, which DELETE gives back', async () => {
  await using service = await serveWithToken()
  const { readFileSync } = await import('node:fs')
  const residentMb = (): number => {
    const [, kb] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${service.process.pid}/status`, 'utf8'))!
    return Number(kb) / 1_024
  }
  const soundMb = residentMb()
  await faults(service, { leak: { mbPerSecond: 200, upToMb: 128 } })
  await until('it has grown', () => residentMb() - soundMb > 110)
  await admin(service, 'DELETE', '/faults')
  await until('it is free', () => residentMb() - soundMb < 50, 1_000)
})
