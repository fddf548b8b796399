import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decodeFromCompressedBase64 } from 'hdr-histogram-js'
import { Histogram } from '../../src/kit/histogram.ts'

const durationsMs = fc.array(
  fc.integer({ min: 1, max: 3_600_000_000 }).map((us) => us / 1_000),
  {
    minLength: 1,
    maxLength: 300,
  },
)

const recorded = (...values: readonly number[]): Histogram => {
  const histogram = new Histogram()
  for (const value of values) histogram.record(value)
  return histogram
}

/** The definition: the smallest value that at least this share of the values do not exceed. */
const exactPercentile = (values: readonly number[], percentile: number): number =>
  values.toSorted((a, b) => a - b)[Math.max(0, Math.ceil((percentile * values.length) / 100 - 1e-9) - 1)]!

test('percentiles are within a thousandth of the exact ones', () => {
  fc.assert(
    fc.property(durationsMs, fc.constantFrom(50, 90, 95, 99, 99.9, 100), (values, percentile) => {
      const exact = exactPercentile(values, percentile)
      const found = recorded(...values).percentileMs(percentile)
      assert.ok(Math.abs(found - exact) <= exact / 1_000, `p${percentile} is ${found}, exactly ${exact}`)
    }),
  )
})

test('the mean is within a thousandth of the exact one', () => {
  fc.assert(
    fc.property(durationsMs, (values) => {
      const exact = values.reduce((sum, value) => sum + value, 0) / values.length
      // Half a microsecond is the rounding of what is shown.
      assert.ok(Math.abs(recorded(...values).meanMs - exact) <= exact / 1_000 + 0.000_5)
    }),
  )
})

test('merging two histograms equals recording both', () => {
  fc.assert(
    fc.property(durationsMs, durationsMs, (a, b) => {
      const merged = recorded(...a)
      merged.add(recorded(...b))
      assert.equal(merged.encode(), recorded(...a, ...b).encode())
    }),
  )
})

test('decoding an encoded histogram gives it back', () => {
  fc.assert(
    fc.property(durationsMs, (values) => {
      const encoded = recorded(...values).encode()
      const decoded = Histogram.decode(encoded)
      assert.equal(decoded.encode(), encoded)
      assert.equal(decoded.count, values.length)
    }),
  )
})

test('the encoding is the standard one, in microseconds', () => {
  const standard = decodeFromCompressedBase64(recorded(1, 2, 300).encode())
  assert.equal(standard.totalCount, 3)
  assert.equal(standard.getValueAtPercentile(50), 2_000)
  assert.equal(standard.numberOfSignificantValueDigits, 3)
})

test('no percentile exceeds the maximum', () => {
  fc.assert(
    fc.property(durationsMs, (values) => {
      const histogram = recorded(...values)
      assert.equal(histogram.percentileMs(100), histogram.maxMs)
      assert.equal(histogram.maxMs, Math.max(...values))
    }),
  )
})

test('a value outside 0 to 1 h counts as the nearer end', () => {
  const histogram = recorded(-1, 7_200_000)
  assert.equal(histogram.count, 2)
  assert.equal(histogram.percentileMs(50), 0)
  assert.equal(histogram.maxMs, 3_600_000)
})

test('a histogram that was reset is as good as new', () => {
  const histogram = recorded(5, 50, 500)
  histogram.reset()
  assert.equal(histogram.count, 0)
  assert.equal(histogram.maxMs, 0)
  histogram.record(1)
  assert.equal(histogram.encode(), recorded(1).encode())
})
