import assert from 'node:assert/strict'
import { test } from 'node:test'
import { judgeSlo, parseSlo, type Observed } from '../../../src/lab/load/slo.ts'

const run: Observed = {
  percentileMs: (percentile) => percentile * 2,
  meanMs: 40,
  maxMs: 900,
  errorShare: 0.002,
  ratePerSecond: 499,
}

const judged = (expression: string, observed: Observed = run) => {
  const slo = parseSlo(expression)
  assert.ok(slo, `${expression} is not understood`)
  return judgeSlo(slo, observed)
}

const percentile = (value: number) => ({ kind: 'percentile', percentile: value })

test('an SLO names a metric, a comparison and a bound with its unit', () => {
  const cases = {
    'p99<100ms': { metric: percentile(99), operator: '<', bound: 100 },
    'p50 <= 1.5s': { metric: percentile(50), operator: '<=', bound: 1_500 },
    'p5<1s': { metric: percentile(5), operator: '<', bound: 1_000 },
    'p99.9<1s': { metric: percentile(99.9), operator: '<', bound: 1_000 },
    'p999<1s': { metric: percentile(99.9), operator: '<', bound: 1_000 },
    'mean<20ms': { metric: { kind: 'mean' }, operator: '<', bound: 20 },
    'max<=2s': { metric: { kind: 'max' }, operator: '<=', bound: 2_000 },
    'errors<0.1%': { metric: { kind: 'errors' }, operator: '<', bound: 0.001 },
    'rate>=500': { metric: { kind: 'rate' }, operator: '>=', bound: 500 },
    'rate>99.5/s': { metric: { kind: 'rate' }, operator: '>', bound: 99.5 },
  } as const
  for (const [expression, slo] of Object.entries(cases)) assert.deepEqual(parseSlo(expression), { expression, ...slo })
})

test('what is not an SLO is refused', () => {
  const wrong = [
    '',
    'p99',
    'p99<',
    '<100ms',
    'p99<100',
    'p99=100ms',
    'p99<100ms<1s',
    'p0<1s',
    'p<1s',
    'P99<1s',
    'p99.9.9<1s',
  ]
  const wrongUnit = [
    'errors<1',
    'errors<10ms',
    'rate>=10%',
    'rate>=5ms',
    'mean<5%',
    'mean5<1s',
    'errors1<1%',
    'speed<1s',
  ]
  for (const expression of [...wrong, ...wrongUnit]) assert.equal(parseSlo(expression), undefined, expression)
})

test('an SLO is judged by what was observed, and shows it', () => {
  assert.deepEqual(judged('p99<200ms'), { expression: 'p99<200ms', observed: 198, passed: true })
  assert.deepEqual(judged('p99.9<150ms'), { expression: 'p99.9<150ms', observed: 199.8, passed: false })
  assert.deepEqual(judged('mean<=40ms'), { expression: 'mean<=40ms', observed: 40, passed: true })
  assert.deepEqual(judged('mean<40ms'), { expression: 'mean<40ms', observed: 40, passed: false })
  assert.deepEqual(judged('max<1s'), { expression: 'max<1s', observed: 900, passed: true })
  assert.deepEqual(judged('errors<0.1%'), { expression: 'errors<0.1%', observed: 0.002, passed: false })
  assert.deepEqual(judged('rate>=500'), { expression: 'rate>=500', observed: 499, passed: false })
})

test('an SLO about what was not measured fails', () => {
  const nothing: Observed = { percentileMs: () => null, meanMs: null, maxMs: null, errorShare: null, ratePerSecond: 0 }
  for (const expression of ['p99<1h', 'mean<1h', 'max<1h', 'errors<100%']) {
    assert.deepEqual(judged(expression, nothing), { expression, observed: null, passed: false })
  }
})
