import assert from 'node:assert/strict'
import { test } from 'node:test'
import { outcomes, type RunResult } from '../../../src/contract/run-result.ts'
import { Histogram } from '../../../src/kit/histogram.ts'
import type { LoadOptions } from '../../../src/lab/load/options.ts'
import type { RunIdentity } from '../../../src/lab/load/result.ts'
import { runLoad } from '../../../src/lab/load/run.ts'
import { parseSlo } from '../../../src/lab/load/slo.ts'
import { describeRun, describeSecond } from '../../../src/lab/load/text.ts'
import { FakeTransport, type Behaviour, type FakeRequest } from './fake-transport.ts'
import { VirtualClock } from './virtual-clock.ts'

const identity: RunIdentity = {
  id: 'run-1',
  tool: { name: 'plimsoll', version: '1.2.3', revision: 'abc' },
  startedAt: new Date('2026-01-02T03:04:05.678Z'),
}

const defaults: LoadOptions = {
  targets: ['http://service/'],
  method: 'GET',
  headers: [['authorization', 'Bearer secret']],
  body: undefined,
  ratePerSecond: 200,
  durationMs: 10_000,
  warmupMs: 0,
  arrivals: 'constant',
  seed: 42,
  timeoutMs: 10_000,
  maxInFlight: 10_000,
  connections: 8,
  slos: [],
}

const run = async (
  options: Partial<LoadOptions>,
  behave: (request: FakeRequest) => Behaviour,
  signal?: AbortSignal,
  also: (clock: VirtualClock) => void = () => undefined,
): Promise<RunResult> => {
  const clock = new VirtualClock()
  const transport = new FakeTransport(clock, behave)
  also(clock)
  const running = runLoad(identity, { ...defaults, ...options }, { clock, transport, ...(signal && { signal }) })
  clock.run()
  return running
}

const slos = (...expressions: string[]) => expressions.map((expression) => parseSlo(expression)!)

const instant: Behaviour = { answerAfterMs: 0.5 }

/** Freezes for the first second of every ten, and is instant otherwise. */
const stalling = ({ sentMs }: FakeRequest): Behaviour => {
  const phaseMs = sentMs % 10_000
  return { answerAfterMs: phaseMs < 1_000 ? 1_000 - phaseMs : 0 }
}

test('a service that freezes for 1 s in every 10 s shows the latency that arithmetic gives', async () => {
  const { latencyMs } = await run({ durationMs: 60_000 }, stalling)
  const found = { mean: latencyMs!.mean, p95: latencyMs!.p95, p99: latencyMs!.p99 }
  for (const [name, expected] of [
    ['mean', 50],
    ['p95', 500],
    ['p99', 900],
  ] as const) {
    assert.ok(Math.abs(found[name] - expected) <= expected * 0.01, `${name} is ${found[name]}, not ${expected}`)
  }
})

test('what holds up sending shows in latency and in send lag, and not in service time', async () => {
  const { latencyMs, serviceTimeMs, sendLagMs, verdict } = await run(
    {},
    () => instant,
    undefined,
    (clock) => clock.after(5_000, () => clock.freeze(1_000)),
  )
  assert.ok(latencyMs!.p99 > 850, `latency ${latencyMs!.p99}`)
  assert.ok(sendLagMs!.p99 > 850, `send lag ${sendLagMs!.p99}`)
  assert.equal(serviceTimeMs!.max, 0.5)
  assert.equal(verdict.status, 'invalid')
})

test('a stalled service shows in the latency of every request that was meant to start meanwhile', async () => {
  const { timeline } = await run({ durationMs: 3_000 }, ({ sentMs }) => ({
    answerAfterMs: sentMs < 1_000 ? 1_000 - sentMs : 0,
  }))
  assert.deepEqual(
    timeline.map(({ atMs, sent, answered, inFlight }) => ({ atMs, sent, answered, inFlight })),
    [
      { atMs: 0, sent: 200, answered: 0, inFlight: 200 },
      { atMs: 1_000, sent: 200, answered: 400, inFlight: 0 },
      { atMs: 2_000, sent: 200, answered: 200, inFlight: 0 },
    ],
  )
})

test('a result has every field that others rely on', async () => {
  const result = await run({ warmupMs: 1_000, slos: slos('p99<100ms') }, () => ({ answerAfterMs: 3, instance: 'a/1' }))
  const { timeline, histograms, ...rest } = result
  const three = { mean: 3, p50: 3, p90: 3, p95: 3, p99: 3, p999: 3, max: 3 }
  const zero = { mean: 0, p50: 0, p90: 0, p95: 0, p99: 0, p999: 0, max: 0 }
  assert.deepEqual(rest, {
    schemaVersion: 1,
    kind: 'run',
    id: 'run-1',
    tool: { name: 'plimsoll', version: '1.2.3', revision: 'abc' },
    startedAt: '2026-01-02T03:04:05.678Z',
    seed: 42,
    requested: {
      targets: ['http://service/'],
      method: 'GET',
      headers: ['authorization'],
      bodyBytes: 0,
      rate: 200,
      durationMs: 10_000,
      warmupMs: 1_000,
      arrivals: 'constant',
      timeoutMs: 10_000,
      maxInFlight: 10_000,
      connections: 8,
    },
    achieved: {
      ratePerSecond: 200,
      sentPerSecond: 200,
      requests: 2_000,
      missed: 0,
      durationMs: 10_000,
      interrupted: false,
    },
    latencyMs: three,
    serviceTimeMs: three,
    sendLagMs: zero,
    outcomes: { ok: 2_000, httpError: 0, timeout: 0, connectionError: 0, censored: 0 },
    statuses: { '200': 2_000 },
    errors: {},
    instances: { 'a/1': { requests: 2_000, errors: 0 } },
    slos: [{ expression: 'p99<100ms', observed: 3, passed: true }],
    verdict: { status: 'valid', reasons: [] },
  })
  assert.equal(timeline.length, 11)
  assert.equal(histograms.latency.encoding, 'HdrHistogram V2 base64')
  assert.equal(Histogram.decode(histograms.latency.data).count, 2_000)
  assert.equal(Histogram.decode(histograms.failures.data).count, 0)
  assert.ok(!JSON.stringify(result).includes('secret'), 'values of headers stay out')
})

test('the same seed gives the same result, to the last figure', async () => {
  const options: Partial<LoadOptions> = { arrivals: 'poisson', durationMs: 5_000 }
  assert.deepEqual(await run(options, stalling), await run(options, stalling))
  assert.notDeepEqual(await run({ ...options, seed: 43 }, stalling), await run(options, stalling))
})

test('an overloaded service shows its capacity as the rate, and the backlog in the verdict', async () => {
  let freeAtMs = 0
  const { achieved, latencyMs, verdict } = await run({ timeoutMs: 60_000 }, ({ sentMs }) => {
    freeAtMs = Math.max(freeAtMs, sentMs) + 10
    return { answerAfterMs: freeAtMs - sentMs }
  })
  assert.ok(Math.abs(achieved.ratePerSecond - 100) < 1, `${achieved.ratePerSecond}/s`)
  assert.equal(achieved.sentPerSecond, 200)
  assert.ok(latencyMs!.max > 9_900)
  assert.equal(verdict.status, 'degraded')
})

test('a Poisson run that has fewer arrivals than rate times duration is not blamed for it', async () => {
  for (let seed = 0; seed < 50; seed++) {
    const { verdict } = await run({ arrivals: 'poisson', ratePerSecond: 20, durationMs: 2_000, seed }, () => instant)
    assert.deepEqual(verdict, { status: 'valid', reasons: [] })
  }
})

test('an interrupted run is measured over the time it had', async () => {
  const interruption = new AbortController()
  const {
    achieved,
    verdict,
    outcomes: ends,
  } = await run(
    {},
    ({ sentMs }) => (sentMs < 2_990 ? instant : 'silence'),
    interruption.signal,
    (clock) => clock.after(3_000, () => interruption.abort()),
  )
  assert.ok(achieved.durationMs >= 3_000 && achieved.durationMs <= 3_020)
  assert.equal(achieved.interrupted, true)
  assert.ok(Math.abs(achieved.ratePerSecond - 200) < 3)
  assert.equal(ends.censored, achieved.requests - ends.ok)
  assert.ok(ends.censored > 0)
  assert.match(verdict.reasons.at(-1)!, /^interrupted after 3 s of 10 s$/)
})

test('a run interrupted in its warm-up has measured nothing and says so', async () => {
  const interruption = new AbortController()
  const abort = (clock: VirtualClock): void => clock.after(500, () => interruption.abort())
  const result = await run({ warmupMs: 1_000, slos: slos('p99<1s') }, () => instant, interruption.signal, abort)
  assert.equal(result.latencyMs, null)
  assert.deepEqual(result.achieved, {
    ratePerSecond: 0,
    sentPerSecond: 0,
    requests: 0,
    missed: 0,
    durationMs: 0,
    interrupted: true,
  })
  assert.deepEqual(result.slos, [{ expression: 'p99<1s', observed: null, passed: false }])
  assert.equal(result.verdict.status, 'invalid')
  assert.match(describeRun(result), /not measured/)
})

test('the text shows the verdict, what was asked next to what happened, and each figure with its unit', async () => {
  let index = 0
  const behaviours: Behaviour[] = [
    { answerAfterMs: 3, instance: 'pod-a/1' },
    { answerAfterMs: 5, instance: 'pod-b/1' },
    { answerAfterMs: 4, status: 503, instance: 'pod-b/1' },
    { failAfterMs: 1, code: 'ECONNRESET' },
  ]
  const result = await run({ slos: slos('p99<100ms', 'errors<0.1%', 'rate>=150') }, () => behaviours[index++ % 4]!)
  assert.equal(
    describeRun(result),
    `\
Verdict       DEGRADED
              - 50 % of the requests failed: latency includes their answers
SLOs          passed  p99<100ms    5.00 ms
              FAILED  errors<0.1%  50 %
              passed  rate>=150    150/s

Target        GET http://service/
Rate          requested 200/s (constant, seed 42)  sent 200/s  answered 150/s
Requests      2,000 in 10 s
Outcomes      1,000 ok, 500 HTTP errors, 500 connection errors
Statuses      200: 1,000  503: 500
Errors        ECONNRESET: 500

                     mean        p50        p90        p95        p99      p99.9        max
Latency           4.00 ms    4.00 ms    5.00 ms    5.00 ms    5.00 ms    5.00 ms    5.00 ms   (from the intended start)
Service time      4.00 ms    4.00 ms    5.00 ms    5.00 ms    5.00 ms    5.00 ms    5.00 ms   (from the actual send)
Send lag          0.00 ms    0.00 ms    0.00 ms    0.00 ms    0.00 ms    0.00 ms    0.00 ms   (actual send - intended start)

Instances     pod-a/1        500   33.3 %
              pod-b/1      1,000   66.7 %  500 errors
`,
  )
})

test('every outcome that happened is named in the text', async () => {
  const kinds: Behaviour[] = [instant, { answerAfterMs: 1, status: 500 }, 'silence', { failAfterMs: 1, code: 'EPIPE' }]
  let index = 0
  const interruption = new AbortController()
  const abort = (clock: VirtualClock): void => clock.after(2_000, () => interruption.abort())
  const options = { timeoutMs: 1_500, maxInFlight: 20 }
  const result = await run(options, () => kinds[index++ % 4]!, interruption.signal, abort)
  const text = describeRun(result)
  for (const outcome of outcomes) assert.ok(result.outcomes[outcome] > 0, outcome)
  assert.match(text, / ok, .* HTTP errors, .* timed out, .* connection errors, .* cut off unanswered, .* never sent\n/)
})

test('a second of progress fits in one line', () => {
  const point = { atMs: 4_000, sent: 200, answered: 198, errors: 2, p50: 0.6, p99: 12.34, inFlight: 3 }
  assert.equal(
    describeSecond(point),
    '  5 s  sent 200/s  answered 198/s  errors 2  p50 0.60 ms  p99 12.3 ms  in flight 3',
  )
  assert.match(describeSecond({ ...point, p50: null, p99: null }), /no answers/)
})
