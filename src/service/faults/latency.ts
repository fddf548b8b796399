import type { Random } from '../../kit/random.ts'

/** How an added latency is distributed; `meanMs` is the mean of each, before the cut at `maxMs`. */
export type LatencyDistribution = { readonly meanMs: number; readonly maxMs: number } & (
  | { readonly distribution: 'constant' }
  /** Between `meanMs - spreadMs` and `meanMs + spreadMs`. */
  | { readonly distribution: 'uniform'; readonly spreadMs: number }
  | { readonly distribution: 'exponential' }
  /** `cv`: the standard deviation as a multiple of the mean (coefficient of variation). */
  | { readonly distribution: 'lognormal'; readonly cv: number }
  /** `shape`: the tail index, above 1; the nearer to 1, the heavier the tail. */
  | { readonly distribution: 'pareto'; readonly shape: number }
)

/**
 * Makes a source of latencies in ms that follow the distribution, each from one number of `random` (a lognormal one from
 * two). Inverse transform sampling, and Box-Muller for the normal variate: Devroye, Non-Uniform Random Variate
 * Generation, 1986, chapters II.2 and V.4.
 */
export const latencySampler = (latency: LatencyDistribution, random: Random): (() => number) => {
  const { maxMs } = latency
  const draw = drawing(latency, random)
  return () => Math.min(draw(), maxMs)
}

const drawing = (latency: LatencyDistribution, random: Random): (() => number) => {
  const { meanMs } = latency
  switch (latency.distribution) {
    case 'constant':
      return () => meanMs
    case 'uniform':
      return () => meanMs + latency.spreadMs * (2 * random() - 1)
    case 'exponential':
      return () => -meanMs * Math.log1p(-random())
    case 'lognormal':
      return lognormal(meanMs, latency.cv, random)
    default:
      return pareto(meanMs, latency.shape, random)
  }
}

/** With mean m and coefficient of variation c: sigma² = ln(1 + c²), mu = ln(m) - sigma² / 2. */
const lognormal = (mean: number, cv: number, random: Random): (() => number) => {
  const variance = Math.log1p(cv * cv)
  const sigma = Math.sqrt(variance)
  const mu = Math.log(mean) - variance / 2
  return () => Math.exp(mu + sigma * standardNormal(random))
}

const standardNormal = (random: Random): number =>
  Math.sqrt(-2 * Math.log1p(-random())) * Math.cos(2 * Math.PI * random())

/** The mean of a Pareto distribution from x on with tail index a is x a / (a - 1). */
const pareto = (mean: number, shape: number, random: Random): (() => number) => {
  const least = (mean * (shape - 1)) / shape
  return () => least * (1 - random()) ** (-1 / shape)
}
