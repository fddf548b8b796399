import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createTcpServer, type AddressInfo, type Server } from 'node:net'
import { after, test } from 'node:test'
import { Command } from 'commander'
import { addLoadCommand } from '../../src/cli/load.ts'
import type { RunResult } from '../../src/contract/run-result.ts'
import { InputError } from '../../src/kit/errors.ts'

const cleanups: (() => Promise<void>)[] = []
after(async () => {
  await Promise.all(cleanups.map((cleanup) => cleanup()))
})

const listening = (server: Server): Promise<string> =>
  new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`))
  })

const serve = async (listener: RequestListener): Promise<string> => {
  const server = createServer(listener)
  cleanups.push(async () => {
    server.closeAllConnections()
    server.close()
  })
  return listening(server)
}

type Ran = { exitCode: number; stdout: string; stderr: string }

const plimsoll = async (
  args: readonly string[],
  { signal = new AbortController().signal, isTTY = false } = {},
): Promise<Ran> => {
  const ran: Ran = { exitCode: 0, stdout: '', stderr: '' }
  const program = new Command()
  addLoadCommand(program, {
    env: {},
    stdout: { write: (text) => (ran.stdout += text) },
    stderr: { write: (text) => (ran.stderr += text), isTTY },
    signal,
    setExitCode: (code) => (ran.exitCode = code),
    exit: () => {},
  })
  await program.parseAsync(args, { from: 'user' })
  return ran
}

const load = async (args: readonly string[], signal?: AbortSignal): Promise<Ran & { result: RunResult }> => {
  const ran = await plimsoll(['load', ...args, '-o', 'json'], signal && { signal })
  return { ...ran, result: JSON.parse(ran.stdout) as RunResult }
}

test('a stalled server shows its stall in the latency of everything that was meant to start meanwhile', async () => {
  const startedMs = performance.now()
  const url = await serve((_, response) => {
    const ageMs = performance.now() - startedMs
    if (ageMs > 1_000 && ageMs < 2_000) setTimeout(() => response.end('late'), 2_000 - ageMs)
    else response.end('prompt')
  })
  const { result } = await load([url, '--rate', '200', '--for', '4s'])
  // A quarter of the arrivals fall into the stall and wait 500 ms on average. Other processes may only add to this.
  assert.equal(result.achieved.requests, 800)
  assert.equal(result.outcomes.ok, 800)
  assert.ok(result.latencyMs!.p90 > 550 && result.latencyMs!.p90 < 900, `p90 ${result.latencyMs!.p90}`)
  assert.ok(result.latencyMs!.p99 > 900, `p99 ${result.latencyMs!.p99}`)
  assert.ok(result.latencyMs!.mean > 110, `mean ${result.latencyMs!.mean}`)
})

test('a slow server cannot slow the arrivals down', async () => {
  let arrived = 0
  const url = await serve((_, response) => {
    arrived++
    setTimeout(() => response.end(), 900)
  })
  const { result } = await load([url, '--rate', '100', '--for', '1s'])
  assert.equal(arrived, 100)
  assert.equal(result.achieved.requests, 100)
  assert.ok(result.latencyMs!.p50 >= 899)
})

test('requests are sent as asked, in turn to each URL, and answers counted by status and instance', async () => {
  const seen: string[] = []
  const service = (instance: string, status: number): Promise<string> =>
    serve((request, response) => {
      let body = ''
      request.on('data', (chunk) => (body += chunk))
      request.on('end', () => {
        seen.push(`${request.method} ${request.url} ${String(request.headers['x-key'])} ${body}`)
        response.writeHead(status, { 'Plimsoll-Instance': instance }).end('x'.repeat(100_000))
      })
    })
  const [a, b] = await Promise.all([service('a/1', 200), service('b/1', 503)])
  const flags = ['--method', 'put', '--header', 'x-key: k: v', '--body', 'payload', '--rate', '100/s', '--for', '500ms']
  const { result, exitCode } = await load([`${a}path?q=1`, `${b}path?q=1`, ...flags])
  assert.deepEqual(new Set(seen), new Set(['PUT /path?q=1 k: v payload']))
  assert.deepEqual(result.statuses, { '200': 25, '503': 25 })
  assert.deepEqual(result.instances, { 'a/1': { requests: 25, errors: 0 }, 'b/1': { requests: 25, errors: 25 } })
  assert.deepEqual([result.outcomes.ok, result.outcomes.httpError], [25, 25])
  assert.equal(exitCode, result.verdict.status === 'invalid' ? 3 : 0)
})

test('connections are kept, spread over at least as many as asked, and grow with need', async () => {
  const connectionsFor = async (delayMs: number, connections: string): Promise<number> => {
    const sockets = new Set<unknown>()
    const url = await serve((request, response) => {
      sockets.add(request.socket)
      setTimeout(() => response.end(), delayMs)
    })
    await load([url, '--rate', '50', '--for', '1s', '--connections', connections])
    return sockets.size
  }
  const [spread, needed] = await Promise.all([connectionsFor(0, '4'), connectionsFor(400, '0')])
  assert.ok(spread >= 4 && spread < 25, `${spread} connections`)
  assert.ok(needed >= 18 && needed < 50, `${needed} connections`)
})

test('a server that never answers gives time-outs, and its connections are closed', { timeout: 10_000 }, async () => {
  const closings: Promise<unknown>[] = []
  const url = await serve((request) => closings.push(once(request.socket, 'close')))
  const { result, exitCode } = await load([url, '--rate', '50', '--for', '500ms', '--timeout', '100ms'])
  assert.equal(result.outcomes.timeout, 25)
  assert.ok(result.latencyMs!.p50 >= 100)
  assert.equal(exitCode, 3)
  assert.match(result.verdict.reasons[0]!, /none of 25 requests was answered/)
  await Promise.all(closings)
})

test('a server that breaks connections, and one that does not speak HTTP, give connection errors by name', async () => {
  const broken = await serve((request) => request.socket.destroy())
  const tcp = createTcpServer((socket) => socket.on('error', () => undefined).end('SSH-2.0-OpenSSH_9.6\r\n'))
  const foreign = await listening(tcp)
  cleanups.push(async () => void tcp.close())
  const { result, exitCode } = await load([broken, foreign, '--rate', '40', '--for', '500ms'])
  assert.equal(result.outcomes.connectionError, 20)
  assert.equal(
    Object.values(result.errors).reduce((sum, count) => sum + count),
    20,
  )
  assert.ok(Object.keys(result.errors).length >= 2, JSON.stringify(result.errors))
  assert.equal(exitCode, 3)
})

test('a target that nobody listens on ends with exit code 3 and the cause', async () => {
  const unused = createServer()
  const url = await listening(unused)
  await new Promise((resolve) => unused.close(resolve))
  const { stdout, exitCode } = await plimsoll(['load', url, '--rate', '20', '--for', '200ms'])
  assert.equal(exitCode, 3)
  assert.match(stdout, /^Verdict {7}INVALID\n +- none of 4 requests was answered: ECONNREFUSED\n/)
})

test('an SLO that fails ends with exit code 99', async () => {
  const url = await serve((_, response) => setTimeout(() => response.end(), 50))
  const { result, exitCode } = await load([
    url,
    '--rate',
    '20',
    '--for',
    '1s',
    '--slo',
    'p50<40ms',
    '--slo',
    'errors<1%',
  ])
  assert.deepEqual(
    result.slos.map(({ passed }) => passed),
    [false, true],
  )
  assert.equal(exitCode, result.verdict.status === 'invalid' ? 3 : 99)
})

test('an interrupted run prints what it has, within 3 s, and ends with exit code 130', async () => {
  const interruption = new AbortController()
  let arrived = 0
  const url = await serve((_, response) => {
    if (++arrived === 10) interruption.abort()
    if (arrived < 10) response.end()
  })
  const startedMs = performance.now()
  const { result, exitCode, stderr } = await load([url, '--rate', '50', '--for', '60s'], interruption.signal)
  assert.ok(performance.now() - startedMs < 3_000)
  assert.equal(exitCode, 130)
  assert.equal(result.achieved.interrupted, true)
  assert.equal(result.outcomes.ok, 9)
  assert.ok(result.outcomes.censored >= 1)
  assert.equal(stderr, '')
})

test('a terminal sees each second in one line that is rewritten, and nothing of it stays', async () => {
  const url = await serve((_, response) => response.end())
  const flags = ['load', url, '--rate', '20', '--for', '1100ms']
  const { stdout, stderr } = await plimsoll(flags, { isTTY: true })
  const [before, ...lines] = stderr.split('\r\u001b[K')
  assert.equal(before, '')
  assert.equal(lines.pop(), '')
  assert.ok(lines.length >= 1)
  for (const [index, line] of lines.entries())
    assert.match(line, new RegExp(`^ +${index + 1} s  sent \\d+/s .*[^\\n]$`))
  assert.ok(!stdout.includes('\u001b'))
})

test('all mistakes are named at once and nothing is sent', async () => {
  const untouched = await serve(() => assert.fail('a request was sent'))
  const args = [
    'ftp://x',
    'nonsense',
    'http://user:pass@host/',
    '--rate',
    '0',
    '--for',
    '10',
    '--arrivals',
    'sometimes',
  ]
  const more = ['--seed', '-1', '--warmup', '2h', '--timeout', '0s', '--max-in-flight', '0', '--connections', 'many']
  const rest = [
    '--method',
    'CONNECT',
    '--header',
    'no colon',
    '--header',
    'connection: close',
    '--slo',
    'p99',
    '-o',
    'xml',
  ]
  await assert.rejects(plimsoll(['load', ...args, ...more, ...rest]), (error) => {
    assert.ok(error instanceof InputError)
    assert.deepEqual(
      new Set(error.mistakes.map(({ field, value }) => `${field} ${String(value)}`)),
      new Set([
        '--arrivals sometimes',
        '--connections many',
        '--for 10',
        '--header connection: close',
        '--header no colon',
        '--max-in-flight 0',
        '--method CONNECT',
        '--output xml',
        '--rate 0',
        '--seed -1',
        '--slo p99',
        '--timeout 0s',
        '--warmup 2h',
        'URL ftp://x',
        'URL http://user:pass@host/',
        'URL nonsense',
      ]),
    )
    return true
  })
  await assert.rejects(plimsoll(['load', untouched, '--rate', '10', '--for', '1s', '--slo', 'p99<100']), InputError)
  await assert.rejects(plimsoll(['load']), (error) => {
    assert.ok(error instanceof InputError)
    assert.deepEqual(
      error.mistakes.map(({ field, value }) => [field, value]),
      [
        ['URL', undefined],
        ['--rate', undefined],
      ],
    )
    return true
  })
})
