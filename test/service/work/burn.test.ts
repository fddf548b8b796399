import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { calibrate, createBurner, type Cpu } from '../../../src/service/work/burn.ts'

/** A CPU that does `roundsPerMs(timeMs)` rounds in a millisecond, and whose clock shows whole ticks only. */
const virtualCpu = (roundsPerMs: (timeMs: number) => number, tickMs = 0.001): Cpu => {
  let timeMs = 0
  return {
    timeMs: () => Math.floor(timeMs / tickMs + 1e-6) * tickMs,
    spin: (iterations) => {
      timeMs += iterations / roundsPerMs(timeMs)
    },
  }
}

const speed = fc.integer({ min: 10_000, max: 2_000_000 })
const ms = fc.double({ min: 0.1, max: 2_000, noNaN: true })

/** The longest that a look at the clock can come too late: 1 % of the burn, or the tolerance for very short ones. */
const allowedMs = (askedMs: number): number => Math.max(askedMs / 100, 0.02)

const assertNear = (actual: number, expected: number): void =>
  assert.ok(Math.abs(actual - expected) <= allowedMs(expected), `${actual} ms of CPU time instead of ${expected} ms`)

test('the calibration finds the speed of the CPU', () => {
  fc.assert(
    fc.property(speed, (perMs) => {
      const found = calibrate(virtualCpu(() => perMs))
      assert.ok(Math.abs(found / perMs - 1) < 0.02, `${found} instead of ${perMs}`)
    }),
    { seed: 3 },
  )
})

test('a burn uses the CPU time asked for at any speed', () => {
  fc.assert(
    fc.property(speed, ms, (perMs, askedMs) => {
      const { burn } = createBurner(virtualCpu(() => perMs))
      assertNear(burn(askedMs).cpuMs, askedMs)
    }),
    { seed: 4 },
  )
})

test('a burn is right also when the CPU became slower or faster since the calibration', () => {
  fc.assert(
    fc.property(fc.double({ min: 0.55, max: 8, noNaN: true }), ms, (factor, askedMs) => {
      let perMs = 200_000
      const burner = createBurner(virtualCpu(() => perMs))
      burner.calibrate()
      perMs *= factor
      assertNear(burner.burn(askedMs).cpuMs, askedMs)
    }),
    { seed: 5 },
  )
})

test('a burn is right also when the speed swings while it runs', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 20, max: 500 }), (periodMs, askedMs) => {
      const { burn } = createBurner(virtualCpu((timeMs) => 200_000 * (1 + 0.3 * Math.sin(timeMs / periodMs))))
      assertNear(burn(askedMs).cpuMs, askedMs)
    }),
    { seed: 6 },
  )
})

test('a burn is right to a tick, and does not look more often, where the CPU clock ticks coarsely', () => {
  let looks = 0
  const { burn } = createBurner(virtualCpu(() => 200_000, 4))
  const { cpuMs } = burn(100, () => ++looks > 1_000)
  assert.ok(Math.abs(cpuMs - 100) <= 4, `${cpuMs} ms`)
  assert.ok(looks <= 110, `looked ${looks} times`)
})

test('a stopped burn uses at most a millisecond more', () => {
  const cpu = virtualCpu(() => 200_000)
  const burner = createBurner(cpu)
  burner.calibrate()
  const startMs = cpu.timeMs()
  const { cpuMs } = burner.burn(1_000, () => cpu.timeMs() - startMs >= 50)
  assert.ok(cpuMs >= 50 && cpuMs < 51.1, `${cpuMs} ms`)
})

test('a burn of 0 ms does nothing', () => {
  assert.deepEqual(
    createBurner(
      virtualCpu(() => 200_000),
      () => 7,
    ).burn(0),
    { cpuMs: 0, tookMs: 0, iterations: 0 },
  )
})

test('a burn says how long it took on the wall clock', () => {
  const times = [1_000, 1_450]
  const { burn } = createBurner(
    virtualCpu(() => 200_000),
    () => times.shift()!,
  )
  assert.equal(burn(20).tookMs, 450)
})
