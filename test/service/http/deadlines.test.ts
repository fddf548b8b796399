import assert from 'node:assert/strict'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import { InputError } from '../../../src/kit/errors.ts'
import { Deadlines, type Expiring } from '../../../src/service/http/deadlines.ts'
import { VirtualClock } from '../work/virtual-clock.ts'

const header = 'request-timeout-ms'

const make = (defaultMs = 1_000): { clock: VirtualClock; deadlines: Deadlines } => {
  const clock = new VirtualClock()
  return { clock, deadlines: new Deadlines({ defaultMs, header, clock }) }
}

/** A request with this header, if any. */
const requestWith = (value?: string): IncomingMessage => {
  const req = new IncomingMessage(new Socket())
  if (value !== undefined) req.rawHeaders.push('Host', 'x', 'Request-Timeout-Ms', value)
  return req
}

/** Notes when it expired. */
class Noted implements Expiring {
  deadlineAtMs = Infinity
  timer: unknown = undefined
  later: Expiring | undefined = undefined
  earlier: Expiring | undefined = undefined
  readonly expiredAtMs: number[] = []
  readonly #clock: VirtualClock

  constructor(clock: VirtualClock) {
    this.#clock = clock
  }

  expire(): void {
    this.expiredAtMs.push(this.#clock.now())
  }
}

test('without a header a request expires after the default, once', async () => {
  const { clock, deadlines } = make()
  const request = new Noted(clock)
  deadlines.add(request, requestWith())
  assert.equal(deadlines.remainingMs(request), 1_000)
  await clock.advance(999)
  assert.equal(deadlines.remainingMs(request), 1)
  assert.deepEqual(request.expiredAtMs, [])
  await clock.advance(5_000)
  assert.deepEqual(request.expiredAtMs, [1_000])
  assert.equal(clock.pending, 0)
})

test('a shorter header shortens the deadline, a longer one does not lengthen it', async () => {
  const { clock, deadlines } = make()
  const [short, long] = [new Noted(clock), new Noted(clock)]
  deadlines.add(short, requestWith('20'))
  deadlines.add(long, requestWith('86400000'))
  await clock.advance(5_000)
  assert.deepEqual([short.expiredAtMs, long.expiredAtMs], [[20], [1_000]])
})

test('a request that has ended never expires, and leaves at most the shared timer behind, for one default', async () => {
  const { clock, deadlines } = make()
  const requests = [undefined, '20', undefined].map((value) => {
    const request = new Noted(clock)
    deadlines.add(request, requestWith(value))
    return request
  })
  assert.equal(clock.pending, 2)
  for (const request of requests) deadlines.remove(request)
  for (const request of requests) deadlines.remove(request)
  assert.equal(clock.pending, 1)
  await clock.advance(1_000)
  assert.equal(clock.pending, 0)
  for (const { expiredAtMs } of requests) assert.deepEqual(expiredAtMs, [])
})

test('any mix of requests: each expires at its own deadline unless it ended before, and one timer serves the rest', async () => {
  const request = fc.record({
    startMs: fc.integer({ min: 0, max: 3_000 }),
    lastsMs: fc.integer({ min: 1, max: 2_000 }),
    header: fc.option(fc.integer({ min: 1, max: 2_000 }), { nil: undefined }),
  })
  const check = async (asked: { startMs: number; lastsMs: number; header: number | undefined }[]): Promise<void> => {
    const { clock, deadlines } = make()
    const requests = asked.map(({ startMs, lastsMs, header }) => {
      const noted = new Noted(clock)
      clock.setTimeout(() => deadlines.add(noted, requestWith(header?.toString())), startMs)
      clock.setTimeout(() => deadlines.remove(noted), startMs + lastsMs)
      return noted
    })
    await clock.advance(10_000)
    assert.equal(clock.pending, 0)
    for (const [i, { startMs, lastsMs, header }] of asked.entries()) {
      const deadlineMs = Math.min(header ?? 1_000, 1_000)
      // At the very millisecond either may come first.
      if (lastsMs === deadlineMs) continue
      assert.deepEqual(requests[i]!.expiredAtMs, lastsMs < deadlineMs ? [] : [startMs + deadlineMs])
    }
  }
  await fc.assert(fc.asyncProperty(fc.array(request, { maxLength: 12 }), check), { seed: 1, numRuns: 60 })
})

test('requests with the default deadline share one timer', () => {
  const { clock, deadlines } = make()
  for (let i = 0; i < 100; i++) deadlines.add(new Noted(clock), requestWith())
  assert.equal(clock.pending, 1)
})

test('without its default deadline a request has all the time there is', async () => {
  const { clock, deadlines } = make()
  const request = new Noted(clock)
  deadlines.add(request, requestWith())
  deadlines.unhurry(request, requestWith())
  assert.equal(deadlines.remainingMs(request), Infinity)
  await clock.advance(100_000)
  assert.deepEqual(request.expiredAtMs, [])
})

test('the deadline that a client chose holds without the default one, earlier or later, from the same moment on', async () => {
  for (const [value, expiredAtMs] of [
    ['20', 20],
    ['5000', 5_000],
  ] as const) {
    const { clock, deadlines } = make()
    const request = new Noted(clock)
    deadlines.add(request, requestWith(value))
    await clock.advance(10)
    deadlines.unhurry(request, requestWith(value))
    await clock.advance(10_000)
    assert.deepEqual(request.expiredAtMs, [expiredAtMs])
    assert.equal(clock.pending, 0)
  }
})

test('a header that is no whole number of ms is refused, naming header, value and what is accepted', () => {
  for (const value of ['', '0', '-1', '1.5', '1e3', '10ms', '86400001', '999999999999', ' 5', 'soon']) {
    const { clock, deadlines } = make()
    const mistake = { field: header, value, accepted: 'whole milliseconds from 1 to 86400000' }
    assert.throws(
      () => deadlines.add(new Noted(clock), requestWith(value)),
      (error) => error instanceof InputError && assert.deepEqual(error.mistakes, [mistake]) === undefined,
    )
    assert.equal(clock.pending, 0)
  }
})
