import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  drive,
  interruptGraceMs,
  type DriveEnd,
  type DriveOptions,
  type RunObserver,
  type Sample,
} from '../../../src/lab/load/driver.ts'
import type { Schedule } from '../../../src/lab/load/schedule.ts'
import { FakeTransport, type Behaviour, type FakeRequest } from './fake-transport.ts'
import { VirtualClock } from './virtual-clock.ts'

/** Keeps everything it is told. */
class Diary implements RunObserver {
  readonly samples: Sample[] = []
  readonly missedMs: number[] = []
  sentCount = 0
  longestLateMs = 0
  arrivalsEndedMs = Number.NaN
  lastTickMs = 0

  sent(): void {
    this.sentCount++
  }
  ended(sample: Sample): void {
    this.samples.push(sample)
  }
  missed(intendedMs: number): void {
    this.missedMs.push(intendedMs)
  }
  ticked(nowMs: number, lateMs: number): void {
    assert.ok(nowMs >= this.lastTickMs)
    assert.ok(lateMs >= 0)
    this.lastTickMs = nowMs
    this.longestLateMs = Math.max(this.longestLateMs, lateMs)
  }
  arrivalsEnded(atMs: number): void {
    assert.ok(Number.isNaN(this.arrivalsEndedMs), 'arrivals end once')
    this.arrivalsEndedMs = atMs
  }
}

const scheduleOf = (arrivals: readonly number[]): Schedule => {
  const remaining = [...arrivals]
  return { next: () => remaining.shift() ?? Infinity }
}

const every = (gapMs: number, count: number): number[] => Array.from({ length: count }, (_, index) => index * gapMs)

type Driven = { diary: Diary; end: DriveEnd; requests: readonly FakeRequest[]; durationMs: number }

const driven = async (
  arrivals: readonly number[],
  behave: (request: FakeRequest, clock: VirtualClock) => Behaviour,
  overrides: Partial<DriveOptions> = {},
  also: (clock: VirtualClock) => void = () => undefined,
): Promise<Driven> => {
  const clock = new VirtualClock()
  const startMs = clock.now()
  const transport = new FakeTransport(clock, (request) => behave(request, clock))
  const diary = new Diary()
  also(clock)
  const ending = drive({
    schedule: scheduleOf(arrivals),
    endMs: (arrivals.at(-1) ?? 0) + 1,
    transport,
    targets: 1,
    timeoutMs: 5_000,
    maxInFlight: 1_000,
    observer: diary,
    clock,
    ...overrides,
  })
  clock.run()
  return { diary, end: await ending, requests: transport.requests, durationMs: clock.now() - startMs }
}

const times = (samples: readonly Sample[]) =>
  samples.map(({ intendedMs, sentMs, endedMs, outcome }) => ({ intendedMs, sentMs, endedMs, outcome }))

test('each arrival is sent when it is due, whether or not earlier ones were answered', async () => {
  const arrivals = every(7, 100)
  const { requests } = await driven(arrivals, () => ({ answerAfterMs: 3_000 }))
  assert.deepEqual(
    requests.map(({ sentMs }) => sentMs),
    arrivals,
  )
})

test('every arrival is sent or missed, and every request sent ends exactly once', async () => {
  const kinds: Behaviour[] = [{ answerAfterMs: 30 }, 'silence', { failAfterMs: 4, code: 'ECONNRESET' }]
  let index = 0
  const { diary } = await driven(every(1, 2_000), () => kinds[index++ % kinds.length]!, { maxInFlight: 400 })
  assert.equal(diary.sentCount + diary.missedMs.length, 2_000)
  assert.ok(diary.missedMs.length > 0)
  assert.equal(diary.samples.length, diary.sentCount)
  assert.equal(new Set(diary.samples).size, diary.sentCount)
})

test('targets are used in turn', async () => {
  const { requests } = await driven(every(1, 7), () => ({ answerAfterMs: 1 }), { targets: 3 })
  assert.deepEqual(
    requests.map(({ target }) => target),
    [0, 1, 2, 0, 1, 2, 0],
  )
})

test('an answer that comes after the end of arrivals counts', async () => {
  const { diary, end } = await driven([0, 10], () => ({ answerAfterMs: 4_000 }), { endMs: 20 })
  assert.equal(diary.arrivalsEndedMs, 20)
  assert.deepEqual(times(diary.samples), [
    { intendedMs: 0, sentMs: 0, endedMs: 4_000, outcome: 'ok' },
    { intendedMs: 10, sentMs: 10, endedMs: 4_010, outcome: 'ok' },
  ])
  assert.deepEqual(end, { interrupted: false })
})

test('a run lasts until the end of its time even when the last arrival came long before', async () => {
  const { durationMs } = await driven([0], () => ({ answerAfterMs: 1 }), { endMs: 10_000 })
  assert.equal(durationMs, 10_000)
})

test('a request without an answer times out, is abandoned, and frees its place', async () => {
  const silentUntilMs = 300
  const { diary, requests } = await driven(
    every(100, 10),
    ({ sentMs }) => (sentMs < silentUntilMs ? 'silence' : { answerAfterMs: 1 }),
    { timeoutMs: 250, maxInFlight: 3 },
  )
  const timedOut = times(diary.samples.filter(({ outcome }) => outcome === 'timeout'))
  assert.deepEqual(timedOut, [
    { intendedMs: 0, sentMs: 0, endedMs: 250, outcome: 'timeout' },
    { intendedMs: 100, sentMs: 100, endedMs: 350, outcome: 'timeout' },
    { intendedMs: 200, sentMs: 200, endedMs: 450, outcome: 'timeout' },
  ])
  assert.equal(requests.filter(({ abandoned }) => abandoned).length, 3)
  assert.deepEqual(diary.missedMs, [])
})

test('an arrival beyond the most in flight is missed, not delayed', async () => {
  const { diary, requests } = await driven(every(10, 5), () => ({ answerAfterMs: 25 }), { maxInFlight: 1 })
  assert.deepEqual(diary.missedMs, [10, 20, 40])
  assert.deepEqual(
    requests.map(({ sentMs }) => sentMs),
    [0, 30],
  )
})

test('a transport may fail while it is sending', async () => {
  const clock = new VirtualClock()
  const diary = new Diary()
  const attempt = { abandon: () => assert.fail('it has ended') }
  const ending = drive({
    schedule: scheduleOf([0, 1]),
    endMs: 2,
    transport: {
      send: (_, reply) => {
        reply.failed('EMFILE')
        return attempt
      },
      close: async () => undefined,
    },
    targets: 1,
    timeoutMs: 10,
    maxInFlight: 1,
    observer: diary,
    clock,
  })
  clock.run()
  assert.deepEqual(await ending, { interrupted: false })
  assert.deepEqual(
    diary.samples.map(({ error }) => error),
    ['EMFILE', 'EMFILE'],
  )
})

test('when the generator itself stood still, late arrivals are sent at once, with their intended start', async () => {
  const { diary } = await driven(
    every(10, 30),
    () => ({ answerAfterMs: 1 }),
    {},
    (clock) => clock.after(100, () => clock.freeze(95)),
  )
  const late = diary.samples.filter(({ intendedMs }) => intendedMs >= 100 && intendedMs <= 195)
  assert.deepEqual(
    late.map(({ sentMs }) => sentMs),
    late.map(() => 195),
  )
  assert.equal(late.length, 10)
  assert.equal(diary.longestLateMs, 95)
})

test('a stall is seen even when no arrival falls into it', async () => {
  const { diary } = await driven(
    [0, 900],
    () => ({ answerAfterMs: 1 }),
    {},
    (clock) => clock.after(300, () => clock.freeze(200)),
  )
  assert.ok(diary.longestLateMs > 180 && diary.longestLateMs <= 200, `${diary.longestLateMs} ms`)
})

test('an interrupted run stops arrivals at once and censors at its age what does not finish in its grace', async () => {
  const interruption = new AbortController()
  const { diary, end, durationMs } = await driven(
    every(10, 1_000),
    ({ sentMs }) => (sentMs === 0 ? 'silence' : { answerAfterMs: 500 }),
    { signal: interruption.signal },
    (clock) => clock.after(2_000, () => interruption.abort()),
  )
  assert.deepEqual(end, { interrupted: true })
  assert.ok(diary.arrivalsEndedMs >= 2_000 && diary.arrivalsEndedMs <= 2_020)
  assert.equal(durationMs, diary.arrivalsEndedMs + interruptGraceMs)
  const unfinished = diary.samples.filter(({ outcome }) => outcome !== 'ok')
  assert.deepEqual(times(unfinished), [{ intendedMs: 0, sentMs: 0, endedMs: durationMs, outcome: 'censored' }])
})

test('an interruption while waiting for the last answers ends the wait', async () => {
  const interruption = new AbortController()
  const { diary, end, durationMs } = await driven(
    [0],
    () => 'silence',
    { signal: interruption.signal, timeoutMs: 60_000, endMs: 10 },
    (clock) => clock.after(500, () => interruption.abort()),
  )
  assert.deepEqual(end, { interrupted: true })
  assert.equal(diary.arrivalsEndedMs, 10)
  assert.ok(durationMs <= 500 + 20 + interruptGraceMs)
  assert.equal(diary.samples[0]!.outcome, 'censored')
})
