import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { Command } from 'commander'
import { addLoadCommand } from '../../src/cli/load.ts'
import type { RunResult } from '../../src/contract/run-result.ts'
import { InputError } from '../../src/kit/errors.ts'
import { listen } from '../support/http.ts'
import { until } from '../support/until.ts'

type Running = { exitCode: number; stdout: string; stderr: string; readonly ended: Promise<unknown> }

/** `plimsoll load ARGS` in this process, while it goes on. */
const start = (args: readonly string[], signal = new AbortController().signal): Running => {
  const program = new Command()
  const running = { exitCode: 0, stdout: '', stderr: '' }
  addLoadCommand(program, {
    env: {},
    stdout: { write: (text) => (running.stdout += text) },
    stderr: { write: (text) => (running.stderr += text), isTTY: false },
    signal,
    setExitCode: (code) => (running.exitCode = code),
    exit: () => {},
  })
  return Object.assign(running, { ended: program.parseAsync(['load', ...args], { from: 'user' }) })
}

const metricsUrl = (running: Running): Promise<string> =>
  until('the address of the metrics', () => /Metrics at (\S+)/.exec(running.stderr)?.[1])

const scrape = async (url: string): Promise<Map<string, number>> => {
  const response = await fetch(url)
  assert.equal(response.status, 200)
  assert.match(response.headers.get('content-type')!, /^text\/plain; version=0\.0\.4/)
  const lines = (await response.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]))
}

const answered = 'plimsoll_load_answers_total{outcome="ok"}'

test('a run shows itself to Prometheus while it goes on, and then its last figures for as long as asked', async () => {
  await using service = await listen((_, response) => void setTimeout(() => response.end(), 20))
  const url = `http://127.0.0.1:${service.port}/`
  const flags = ['--rate', '100', '--for', '2s', '--metrics-port', '0', '--metrics-linger', '1m', '-o', 'json']
  const interruption = new AbortController()
  const running = start([url, ...flags], interruption.signal)
  const metrics = await metricsUrl(running)
  const midway = await until('answers', async () => {
    const shown = await scrape(metrics)
    return shown.get(answered)! > 20 && shown
  })
  assert.equal(midway.get('plimsoll_load_rate_asked_per_second'), 100)
  assert.equal(running.stdout, '')
  await until('the result', () => running.stdout !== '')
  const { id, achieved, outcomes } = JSON.parse(running.stdout) as RunResult
  const last = await scrape(metrics)
  assert.equal(last.get('plimsoll_load_sent_total'), achieved.requests)
  assert.equal(last.get(answered), outcomes.ok)
  assert.equal(last.get(`plimsoll_load_run_info{run_id="${id}",arrivals="constant"}`), 1)
  assert.equal(last.get('plimsoll_load_rate_asked_per_second'), 0)
  interruption.abort()
  await running.ended
  assert.notEqual(running.exitCode, 130, 'the run was over')
  await assert.rejects(fetch(metrics))
})

test('without a linger nothing is served once the result is there', async () => {
  await using service = await listen((_, response) => void response.end())
  const running = start([`http://127.0.0.1:${service.port}/`, ...'--rate 50 --for 300ms --metrics-port 0'.split(' ')])
  const metrics = await metricsUrl(running)
  // A scraper that keeps its connection must not keep the command alive.
  await scrape(metrics)
  await running.ended
  await assert.rejects(fetch(metrics))
})

test('nothing but GET and HEAD of /metrics is answered with figures', async () => {
  await using service = await listen((_, response) => void response.end())
  const interruption = new AbortController()
  const args = [`http://127.0.0.1:${service.port}/`, ...'--rate 50 --for 1m --metrics-port 0'.split(' ')]
  const running = start(args, interruption.signal)
  const metrics = await metricsUrl(running)
  const statusOf = async (path: string, method: string): Promise<number> =>
    (await fetch(new URL(path, metrics), { method })).status
  assert.deepEqual(
    await Promise.all([
      statusOf('/metrics?x=1', 'GET'),
      statusOf('/metrics', 'HEAD'),
      statusOf('/metrics', 'POST'),
      statusOf('/', 'GET'),
    ]),
    [200, 200, 405, 404],
  )
  interruption.abort()
  await running.ended
})

test('a port that is taken ends the command before anything is sent', async () => {
  await using service = await listen(() => assert.fail('a request was sent'))
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as { port: number }
  const args = [`http://127.0.0.1:${service.port}/`, '--rate', '50', '--metrics-port', String(port)]
  await assert.rejects(start(args).ended, { code: 'EADDRINUSE' })
  other.close()
})

test('mistakes in the flags of the metrics are named with all others', async () => {
  const mistakes = async (...args: string[]): Promise<unknown[]> => {
    const error: unknown = await start(['http://127.0.0.1:1/', ...args]).ended.catch((thrown: unknown) => thrown)
    assert.ok(error instanceof InputError)
    return error.mistakes.map(({ field, value }) => [field, value])
  }
  const flags = ['--rate', '0', '--metrics-port', '65536', '--metrics-linger', '2h']
  assert.deepEqual(await mistakes(...flags), [
    ['--rate', '0'],
    ['--metrics-port', '65536'],
    ['--metrics-linger', '2h'],
  ])
  assert.deepEqual(await mistakes('--rate', '1', '--metrics-linger', '5s'), [['--metrics-port', undefined]])
})
