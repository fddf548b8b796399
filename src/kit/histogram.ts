import {
  build,
  decodeFromCompressedBase64,
  encodeIntoCompressedBase64,
  type Histogram as Counts,
} from 'hdr-histogram-js'

const lowestUs = 1
const highestUs = 3_600_000_000
const significantDigits = 3

/** Names the encoding in results. https://github.com/HdrHistogram/HdrHistogram, `encodeIntoCompressedByteBuffer`. */
export const histogramEncoding = 'HdrHistogram V2 base64'

/**
 * Counts durations from 1 µs to 1 h with three significant digits, in about 95 kB whatever the number of values.
 * Values go in and come out in milliseconds. One outside the range counts as its nearer end. Merging loses nothing:
 * `a.add(b)` is what recording both would have given.
 */
export class Histogram {
  readonly #counts: Counts

  constructor(counts: Counts = emptyCounts()) {
    this.#counts = counts
  }

  /** Reads what `encode`, or another implementation of HdrHistogram, wrote. Throws when it is something else. */
  static decode(data: string): Histogram {
    const merged = new Histogram()
    merged.#counts.add(decodeFromCompressedBase64(data, 32, false))
    return merged
  }

  record(valueMs: number): void {
    const valueUs = Math.round(valueMs * 1_000)
    this.#counts.recordValue(valueUs < 0 ? 0 : valueUs > highestUs ? highestUs : valueUs)
  }

  add(other: Histogram): void {
    this.#counts.add(other.#counts)
  }

  reset(): void {
    this.#counts.reset()
  }

  get count(): number {
    return this.#counts.totalCount
  }

  /** Of the middles of the buckets, as every implementation has it; 0 when nothing was recorded. */
  get meanMs(): number {
    return Math.min(toMs(this.#counts.mean), this.maxMs)
  }

  get maxMs(): number {
    return toMs(this.#counts.maxValue)
  }

  /**
   * The smallest value, to three digits, that at least `percentile` (0 to 100) per cent of the values do not exceed;
   * 0 when nothing was recorded. Buckets report their upper edge, which is held to the largest value recorded.
   */
  percentileMs(percentile: number): number {
    return Math.min(toMs(this.#counts.getValueAtPercentile(percentile)), this.maxMs)
  }

  encode(): string {
    return encodeIntoCompressedBase64(this.#counts)
  }
}

const emptyCounts = (): Counts =>
  build({
    bitBucketSize: 32,
    autoResize: false,
    lowestDiscernibleValue: lowestUs,
    highestTrackableValue: highestUs,
    numberOfSignificantValueDigits: significantDigits,
    useWebAssembly: false,
  })

const toMs = (us: number): number => Math.round(us) / 1_000
