import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  type Aggregation,
  Buckets,
  Level,
  mergeMetrics,
  type Metric,
  type Sample,
  totalsOf,
  writeMetrics,
} from '../../src/kit/metrics.ts'

/** Steps of a level: what it changes by, and how long it stays so. */
const steps = fc.array(fc.record({ by: fc.integer({ min: -3, max: 5 }), ms: fc.integer({ min: 0, max: 60_000 }) }))

test('the integral of a level is the sum of its values, each times how long it was so', () => {
  fc.assert(
    fc.property(steps, (all) => {
      const level = new Level()
      let nowMs = 1_000
      let [value, expectedMs] = [0, 0]
      for (const { by, ms } of all) {
        level.add(nowMs, by)
        value += by
        nowMs += ms
        expectedMs += value * ms
      }
      assert.equal(level.value, value)
      assert.ok(Math.abs(level.seconds(nowMs) - expectedMs / 1_000) < 1e-6)
    }),
  )
})

test('the integral grows between two changes, too', () => {
  const level = new Level()
  level.add(0)
  level.add(500)
  assert.deepEqual([level.seconds(500), level.seconds(1_500)], [0.5, 2.5])
  level.remove(1_500)
  assert.deepEqual([level.value, level.seconds(2_500)], [1, 3.5])
})

const bounds = [0.005, 0.01, 0.25, 1]
const observations = fc.array(fc.oneof(fc.constantFrom(...bounds), fc.double({ min: 0, max: 3, noNaN: true })))

const bucketsOf = (values: readonly number[]): Buckets => {
  const buckets = new Buckets(bounds)
  for (const value of values) buckets.observe(value)
  return buckets
}

const valueOf = (samples: readonly Sample[], part: string, le?: number | string): number =>
  samples.find(({ metricName, labels }) => metricName === `x_${part}` && labels['le'] === le)!.value

test('each bucket counts what is up to its bound, and the last of them all', () => {
  fc.assert(
    fc.property(observations, (values) => {
      const samples = bucketsOf(values).samples('x', { a: 'b' })
      for (const bound of bounds) {
        assert.equal(valueOf(samples, 'bucket', bound), values.filter((value) => value <= bound).length)
      }
      assert.equal(valueOf(samples, 'bucket', '+Inf'), values.length)
      assert.equal(valueOf(samples, 'count'), values.length)
      const sum = values.reduce((all, value) => all + value, 0)
      assert.equal(valueOf(samples, 'sum'), sum)
    }),
  )
})

test('a bucket keeps the latest exemplar of those that fell into it', () => {
  const buckets = bucketsOf([0.1, 0.2, 0.9])
  buckets.exemplify(0.1, { trace_id: 'a' }, 1)
  buckets.exemplify(0.2, { trace_id: 'b' }, 2)
  buckets.exemplify(0.9, { trace_id: 'c' }, 1.5)
  const exemplars = buckets.samples('x', {}).map(({ exemplar }) => exemplar?.labelSet['trace_id'])
  assert.deepEqual(exemplars, [undefined, undefined, 'b', 'c', undefined, undefined, undefined])
})

// Whole numbers, of which every sum is exact; of others it depends on their order in the last digit.
const whole = fc.integer({ min: 0, max: 2 ** 40 })

/** A histogram as a process tells it, with an exemplar that is told apart by its time: another value has another one. */
const histogram = fc.tuple(fc.array(fc.nat(2)), fc.nat(2 ** 30)).map(([values, second]): Metric => {
  const buckets = bucketsOf(values)
  const [first] = values
  if (first !== undefined) {
    const timestamp = 1 + 3 * second + first
    buckets.exemplify(first, { trace_id: String(timestamp) }, timestamp)
  }
  return { name: 'x', type: 'histogram', help: '', values: buckets.samples('x', { route: 'r' }) }
})

const valued = (name: string, type: 'counter' | 'gauge', aggregation?: Aggregation) =>
  fc.dictionary(fc.constantFrom('a', 'b', 'c'), whole).map(
    (values): Metric => ({
      name,
      type,
      help: '',
      values: Object.entries(values).map(([label, value]) => ({ labels: { label, more: 1 }, value })),
      ...(aggregation && { aggregation }),
    }),
  )

const kinds = fc.tuple(
  histogram,
  valued('c_total', 'counter'),
  valued('g', 'gauge'),
  valued('most', 'gauge', 'max'),
  valued('least', 'gauge', 'min'),
)

/** Not every process has something to say of every metric. */
const processMetrics = kinds.chain((all) => fc.subarray(all))

/** Everything that a scrape shows, in an order that depends on nothing else. */
const linesOf = (metrics: readonly Metric[]): string[] =>
  metrics
    .flatMap(({ name, values }) =>
      values.map(({ metricName = name, labels, value, exemplar }) =>
        JSON.stringify([
          metricName,
          Object.entries(labels).toSorted(([a], [b]) => a.localeCompare(b)),
          value,
          exemplar,
        ]),
      ),
    )
    .toSorted()

test('merging does not depend on the order of the processes', () => {
  fc.assert(
    fc.property(processMetrics, processMetrics, (a, b) => {
      assert.deepEqual(linesOf(mergeMetrics([a, b])), linesOf(mergeMetrics([b, a])))
    }),
  )
})

test('merging does not depend on who is merged first', () => {
  fc.assert(
    fc.property(processMetrics, processMetrics, processMetrics, (a, b, c) => {
      const all = linesOf(mergeMetrics([a, b, c]))
      assert.deepEqual(linesOf(mergeMetrics([mergeMetrics([a, b]), c])), all)
      assert.deepEqual(linesOf(mergeMetrics([a, mergeMetrics([b, c])])), all)
    }),
  )
})

test('merged with nothing, metrics stay as they are', () => {
  fc.assert(
    fc.property(processMetrics, (a) => {
      assert.deepEqual(linesOf(mergeMetrics([[], a, []])), linesOf(a))
    }),
  )
})

test('two processes together have counted what one would have that had seen everything', () => {
  const told = (values: readonly number[]): Metric[] => [
    { name: 'x', type: 'histogram', help: '', values: bucketsOf(values).samples('x', {}) },
  ]
  fc.assert(
    fc.property(fc.array(fc.nat(2)), fc.array(fc.nat(2)), (a, b) => {
      assert.deepEqual(linesOf(mergeMetrics([told(a), told(b)])), linesOf(told([...a, ...b])))
    }),
  )
})

const gauge = (aggregation: Aggregation, value: number, labels: Sample['labels'] = {}): Metric => {
  return { name: aggregation, type: 'gauge', help: '', aggregation, values: [{ labels, value }] }
}

test('what is not to be added up is the most or the least of all', () => {
  const merged = mergeMetrics([3, 7, 5].map((value) => [gauge('max', value), gauge('min', value), gauge('sum', value)]))
  assert.deepEqual(
    merged.map(({ name, values }) => [name, values[0]!.value]),
    [
      ['max', 7],
      ['min', 3],
      ['sum', 15],
    ],
  )
})

test('labels in another order are the same line', () => {
  const merged = mergeMetrics([[gauge('sum', 2, { a: 1, b: 2 })], [gauge('sum', 2, { b: 2, a: 1 })]])
  assert.deepEqual(
    merged[0]!.values.map(({ value }) => value),
    [4],
  )
})

const anySize = fc.double({ min: 0, max: 1e9, noNaN: true })

const sumOf = (values: readonly number[]): number =>
  mergeMetrics(values.map((value) => [gauge('sum', value)]))[0]!.values[0]!.value

test('a sum does not fall by a rounding while one of its parts grows', () => {
  fc.assert(
    fc.property(fc.array(anySize, { minLength: 1, maxLength: 8 }), fc.nat(), anySize, (values, at, more) => {
      const grown = values.with(at % values.length, values[at % values.length]! + more)
      assert.ok(sumOf(grown) >= sumOf(values))
    }),
  )
})

const valuesOf = (metrics: readonly Metric[]): Map<string, number> =>
  new Map(
    totalsOf(metrics).flatMap(({ name, values }) =>
      values.map(({ metricName = name, labels, value }) => [`${metricName} ${JSON.stringify(labels)}`, value] as const),
    ),
  )

const gaugesIn = (metrics: readonly Metric[]): Metric[] => metrics.filter(({ type }) => type === 'gauge')

test('of a process that is gone its counters and histograms stay, and its gauges go', () => {
  fc.assert(
    fc.property(processMetrics, processMetrics, (gone, alive) => {
      const after = mergeMetrics([totalsOf(gone), alive])
      assert.deepEqual(valuesOf(after), valuesOf(mergeMetrics([gone, alive])))
      assert.deepEqual(linesOf(gaugesIn(after)), linesOf(gaugesIn(alive)))
    }),
  )
})

test('nothing at all is a valid text, too', async () => {
  assert.equal(await writeMetrics([], 'openMetrics'), '# EOF\n')
  assert.equal(await writeMetrics([], 'prometheus'), '\n')
})

test('names, labels and values are written as both formats want them, exemplars as OpenMetrics only', async () => {
  const buckets = new Buckets([1])
  buckets.observe(0.5)
  buckets.exemplify(0.5, { trace_id: 'abc' }, 12.5)
  const metrics: Metric[] = [
    {
      name: 'c_total',
      type: 'counter',
      help: 'A "thing"\nof \\ two lines.',
      values: [{ labels: { l: 'a"b\\c\nd' }, value: 2 }],
    },
    { name: 'h', type: 'histogram', help: 'One.', values: buckets.samples('h', {}) },
  ]
  const counter = 'c_total{l="a\\"b\\\\c\\nd"} 2'
  assert.equal(
    await writeMetrics(metrics, 'prometheus'),
    `# HELP c_total A "thing"\\nof \\\\ two lines.\n# TYPE c_total counter\n${counter}\n\n` +
      '# HELP h One.\n# TYPE h histogram\nh_bucket{le="1"} 1\nh_bucket{le="+Inf"} 1\nh_sum 0.5\nh_count 1\n',
  )
  const openMetrics = await writeMetrics(metrics, 'openMetrics')
  assert.match(openMetrics, /^# TYPE c counter$/m)
  assert.ok(openMetrics.includes(counter))
  assert.ok(openMetrics.includes('h_bucket{le="1"} 1 # {trace_id="abc"} 0.5 12.5\n'))
  assert.ok(openMetrics.endsWith('\n# EOF\n'))
  assert.ok(!(await writeMetrics(metrics, 'prometheus')).includes('trace_id'))
})
