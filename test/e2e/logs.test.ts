import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, openSync, readSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { serve, type Serving } from '../support/cli.ts'
import { type Collector, startCollector } from '../support/collector.ts'
import { localEnv } from '../support/env.ts'
import { exchange, readAnswers } from '../support/http.ts'
import { until } from '../support/until.ts'

type Line = Readonly<Record<string, unknown>>

const portOf = (url: string): number => Number(new URL(url).port)

/** Sends so many requests on one connection, and returns the statuses of the answers. */
const requests = async (port: number, count: number, method = 'GET', path = '/json'): Promise<number[]> => {
  const one = (more: string): string => `${method} ${path} HTTP/1.1\r\nHost: test\r\n${more}\r\n`
  const bytes = one('').repeat(count - 1) + one('Connection: close\r\n')
  return readAnswers(await exchange(port, bytes, 60_000)).map(({ status }) => status)
}

const all = (count: number, status: number): number[] => Array.from({ length: count }, () => status)

const about = (log: readonly Line[]): Line[] => log.filter(({ msg }) => msg === 'request')

test('a fast answer has no line, nor has a refusal of the client; an error of the service has one', async () => {
  await using service = await serve([])
  const port = portOf(service.url)
  assert.deepEqual(await requests(port, 20), all(20, 200))
  assert.deepEqual(await requests(port, 20, 'GET', '/nowhere'), all(20, 404))
  assert.deepEqual(await requests(port, 3, 'PROPFIND'), all(3, 501))
  service.process.kill('SIGTERM')
  await service.exit
  assert.deepEqual(
    about(service.log).map(({ level, reason, method, route, status, problem }) => [
      level,
      reason,
      method,
      route,
      status,
      problem,
    ]),
    Array.from({ length: 3 }, () => ['error', 'error', '_OTHER', 'unmatched', 501, 'not-implemented']),
  )
})

test('a slow answer has a line that is a warning', async () => {
  await using service = await serve([], { SLOW_REQUEST_MS: '50' })
  await requests(portOf(service.url), 1, 'GET', '/work/wait?ms=100')
  service.process.kill('SIGTERM')
  await service.exit
  const [line] = about(service.log)
  assert.deepEqual([line!['level'], line!['reason'], line!['route']], ['warn', 'slow', '/work/wait'])
  assert.ok(Number(line!['tookMs']) >= 100)
})

const adminToken = 'a-token-of-the-test'

const crash = (service: Serving): Promise<Response> =>
  fetch(`${service.adminUrl}/faults/crash`, {
    method: 'POST',
    headers: { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' },
    body: '{"how": "exception"}',
  })

const endings: Readonly<Record<string, (service: Serving) => unknown>> = {
  'a drain': ({ process }) => process.kill('SIGTERM'),
  'an error that nobody caught': crash,
}

for (const [ending, end] of Object.entries(endings)) {
  test(`${ending} loses no line`, async () => {
    await using service = await serve([], { ADMIN_TOKEN: adminToken })
    assert.deepEqual(await requests(portOf(service.url), 200, 'PROPFIND'), all(200, 501))
    const closed = once(service.process, 'close')
    await Promise.allSettled([end(service)])
    await closed
    assert.equal(about(service.log).length, 200)
  })
}

test('a second Ctrl-C ends the process at once and loses no line', async () => {
  await using service = await serve([], { DRAIN_DELAY_MS: '60000' })
  service.process.kill('SIGINT')
  await until('it drains', () => service.log.some(({ msg }) => msg === 'draining'))
  assert.deepEqual(await requests(portOf(service.url), 1, 'PROPFIND'), [501])
  // One key that is pressed can come as two signals: only a later one is a second.
  await new Promise((resolve) => setTimeout(resolve, 400))
  const closed = once(service.process, 'close')
  assert.deepEqual(await requests(portOf(service.url), 1, 'PROPFIND'), [501])
  service.process.kill('SIGINT')
  await closed
  assert.equal(await service.exit, 130)
  assert.equal(about(service.log).length, 2)
})

test('an error that nobody caught is the last line, and the process ends with 1', async () => {
  await using service = await serve([], { ADMIN_TOKEN: adminToken })
  const closed = once(service.process, 'close')
  await crash(service)
  await closed
  assert.equal(await service.exit, 1)
  const { level, err } = service.log.at(-1)!
  assert.equal(level, 'fatal')
  assert.equal((err as { message: string }).message, 'crashed, as asked for on the admin port')
})

/** A service whose log goes into a pipe that is read only when the test asks. */
type Piped = {
  readonly process: ChildProcess
  readonly port: number
  readonly adminUrl: string
  readonly log: readonly Line[]
  /** Reads what the pipe has: at most 64 KiB. Throws where a line is no JSON. */
  readonly read: () => void
}

const entry = fileURLToPath(new URL('../../src/main.ts', import.meta.url))

const servePiped = async (t: TestContext, args: readonly string[], env: Record<string, string>): Promise<Piped> => {
  const folder = await mkdtemp(join(tmpdir(), 'plimsoll-log-'))
  const path = join(folder, 'pipe')
  assert.equal(spawnSync('mkfifo', [path]).status, 0)
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const writer = openSync(path, constants.O_WRONLY)
  const child = spawn(process.execPath, [entry, 'serve', ...args], {
    env: { ...process.env, ...localEnv, INSTANCE: 'e2e', ...env },
    stdio: ['ignore', writer, 'inherit'],
  })
  closeSync(writer)
  const exit = once(child, 'exit')
  t.after(async () => {
    child.kill('SIGKILL')
    await exit
    closeSync(reader)
    await rm(folder, { recursive: true })
  })
  const log: Line[] = []
  const bytes = Buffer.alloc(65_536)
  let rest = ''
  const read = (): void => {
    const lines = (rest + readNow(reader, bytes)).split('\n')
    rest = lines.pop()!
    log.push(...lines.map((line) => JSON.parse(line) as Line))
  }
  const portOfLine = (message: string): unknown => log.find(({ msg }) => msg === message)?.['port']
  const ports = await until(
    'it listens',
    () => {
      read()
      const found = [portOfLine('listening'), portOfLine('admin listening')].map(Number)
      return found.every((port) => port > 0) && found
    },
    20_000,
  )
  return { process: child, port: ports[0]!, adminUrl: `http://127.0.0.1:${ports[1]}`, log, read }
}

const readNow = (fd: number, into: Buffer): string => {
  try {
    return into.toString('utf8', 0, readSync(fd, into))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return ''
    throw error
  }
}

/** Each request has a line. */
const allSampled = ({ url }: Collector): Record<string, string> => ({
  OTEL_EXPORTER_OTLP_ENDPOINT: url,
  OTEL_TRACES_SAMPLER: 'always_on',
})

const droppedBy = async (adminUrl: string): Promise<number> => {
  const text = await (await fetch(`${adminUrl}/metrics`)).text()
  return Number(/^plimsoll_log_lines_dropped_total (\d+)$/m.exec(text)?.[1])
}

const count = 8_000

test('a log that nobody reads holds up no request; what finds no room is counted, the rest comes whole and in order', async (t) => {
  await using collector = await startCollector()
  const service = await servePiped(t, [], allSampled(collector))
  assert.deepEqual(await requests(service.port, count), all(count, 200))
  const said = (): number => service.log.reduce((sum, { lines }) => sum + Number(lines ?? 0), 0)
  const isAllSaid = async (): Promise<boolean> => {
    service.read()
    return said() > 0 && said() === (await droppedBy(service.adminUrl))
  }
  await until('the rest has come', isAllSaid, 20_000)
  const come = about(service.log).length
  const others = come + said() - count
  assert.ok(others >= 0 && others <= 5, `${come} have come, ${said()} were dropped: ${others} of them not of requests`)
  assert.deepEqual(await requests(service.port, 10), all(10, 200))
  const goesOn = (): boolean => {
    service.read()
    return about(service.log).length === come + 10
  }
  await until('it goes on', goesOn, 20_000)
  const times = about(service.log).map(({ time }) => Number(time))
  assert.deepEqual(
    times,
    times.toSorted((a, b) => a - b),
  )
})

test('a log that nobody reads does not keep the process from its end', async (t) => {
  await using collector = await startCollector()
  const service = await servePiped(t, [], allSampled(collector))
  await requests(service.port, 1_000)
  const exit = once(service.process, 'exit')
  service.process.kill('SIGTERM')
  assert.deepEqual(await exit, [0, null])
})

test('the lines of several workers never mix, however slowly they are read', async (t) => {
  await using collector = await startCollector()
  const service = await servePiped(t, ['--workers', '2'], allSampled(collector))
  await until('all have started', async () => (await fetch(`${service.adminUrl}/startupz`)).ok, 20_000)
  await Promise.all(Array.from({ length: 20 }, () => requests(service.port, 200)))
  // As it reads it parses: half a line would be an error.
  await until('all have come', () => {
    service.read()
    return about(service.log).length === 4_000
  })
  const instances = new Set(about(service.log).map(({ instance }) => instance))
  assert.deepEqual([...instances].map(String).toSorted(), ['e2e/1', 'e2e/2'])
})
