import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { isVoid, judge, median, summarise } from './result.ts'
import type { Figure, Round } from './result.ts'
import { rows } from './rows.ts'
import type { Row } from './rows.ts'
import { parseSummary } from './wrk.ts'

const rowNamed = (name: string): Row => rows.find((row) => row.name === name)!

const figure = (value: number, coreShare = 1): Figure => ({ value, coreShare })

test('the median has as many values below it as above it', () => {
  fc.assert(
    fc.property(fc.array(fc.integer(), { minLength: 1 }), (values) => {
      const middle = median(values)
      const below = values.filter((value) => value < middle).length
      const above = values.filter((value) => value > middle).length
      assert.ok(below <= values.length / 2 && above <= values.length / 2)
    }),
  )
})

test('ratios are taken within rounds: a machine that halves its speed between rounds changes nothing', () => {
  const pace = fc.double({ min: 0.1, max: 10, noNaN: true })
  fc.assert(
    fc.property(fc.array(pace, { minLength: 1, maxLength: 9 }), (paces) => {
      const rounds = paces.map((pace): Round => ({ bare: figure(1000 * pace), ours: figure(950 * pace) }))
      assert.ok(Math.abs(summarise(rowNamed('json'), rounds).figure.median - 0.95) < 1e-9)
    }),
  )
})

test('a void round does not count while another does', () => {
  const good: Round = { bare: figure(100), ours: figure(95) }
  const starved: Round = { bare: figure(50, 0.5), ours: figure(95) }
  const { figure: spread, counts, notes } = summarise(rowNamed('json'), [starved, good, starved])
  assert.equal(spread.median, 0.95)
  assert.ok(counts)
  assert.deepEqual(notes, ['2 of 3 rounds void'])
})

test('when every round is void the result is made of them and says so', () => {
  const { counts, notes } = summarise(rowNamed('json'), [{ bare: figure(50, 0.5), ours: figure(95) }])
  assert.equal(counts, false)
  assert.match(notes.join('\n'), /1 of 1 rounds void\nbare used only 0\.50 of its core/)
})

test('with a database ours may wait for it, the other server may not', () => {
  assert.equal(isVoid(rowNamed('db'), { koa: figure(10), ours: figure(20, 0.6) }), false)
  assert.equal(isVoid(rowNamed('db'), { koa: figure(10, 0.6), ours: figure(20) }), true)
  assert.equal(isVoid(rowNamed('json'), { bare: figure(10), ours: figure(9, 0.6) }), true)
})

test('the ratio by CPU does not move when a server gets less of its core', () => {
  const { byCpu, cpuUs } = summarise(rowNamed('db'), [{ koa: figure(10_000), ours: figure(15_000, 0.5) }])
  assert.equal(byCpu, 3)
  assert.ok(Math.abs(cpuUs.koa! - 100) < 1e-9)
})

test('reaching a line exactly is reaching it', () => {
  assert.equal(judge({ direction: 'at least', bar: 0.9, stretch: 1 }, 1), 'stretch')
  assert.equal(judge({ direction: 'at least', bar: 0.9, stretch: 1 }, 0.9), 'met')
  assert.equal(judge({ direction: 'at least', bar: 0.9, stretch: 1 }, 0.89), 'missed')
  assert.equal(judge({ direction: 'at most', bar: 2.5, stretch: 2 }, 2), 'stretch')
  assert.equal(judge({ direction: 'at most', bar: 130 }, 130), 'met')
  assert.equal(judge({ direction: 'at most', bar: 130 }, 131), 'missed')
})

test('failed requests are not counted as answered ones', () => {
  const summary = {
    durationUs: 2e6,
    requests: 1000,
    badStatuses: 200,
    socketErrors: 3,
    timeouts: 4,
    p50Us: 1,
    p99Us: 2,
  }
  const { ratePerSecond, badStatuses, socketErrors } = parseSummary(`Running 2s test\n\n${JSON.stringify(summary)}\n`)
  assert.deepEqual(
    { ratePerSecond, badStatuses, socketErrors },
    { ratePerSecond: 400, badStatuses: 200, socketErrors: 7 },
  )
})
