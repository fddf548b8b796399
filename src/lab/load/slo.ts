import type { SloOutcome } from '../../contract/run-result.ts'
import { parseDurationMs, parseRatePerSecond, parseShare } from '../../kit/units.ts'

/** A promise about a run that it keeps or breaks. */
export type Slo = {
  /** As it was written. */
  readonly expression: string
  readonly metric: SloMetric
  readonly operator: Operator
  /** In the unit of the metric: ms, a share of requests from 0 to 1, or per second. */
  readonly bound: number
}

export type SloMetric =
  | { readonly kind: 'percentile'; readonly percentile: number }
  | { readonly kind: 'mean' | 'max' | 'errors' | 'rate' }

type Operator = '<' | '<=' | '>' | '>='

/** What a run showed, as far as SLOs ask for it; null where nothing was measured. */
export type Observed = {
  percentileMs(percentile: number): number | null
  readonly meanMs: number | null
  readonly maxMs: number | null
  readonly errorShare: number | null
  readonly ratePerSecond: number
}

/** The grammar in the words of an error message. */
export const sloGrammar = "an objective such as 'p99<100ms', 'p99.9<=1s', 'mean<20ms', 'errors<0.1%' or 'rate>=500'"

const shape = /^\s*([a-z]+)(\d+(?:\.\d+)?)?\s*(<=|>=|<|>)\s*(\S+)\s*$/

/** The SLO that `expression` states (see `sloGrammar`); undefined when it states none. */
export const parseSlo = (expression: string): Slo | undefined => {
  const [, name, digits, operator, boundText] = shape.exec(expression) ?? []
  const metric = name === undefined ? undefined : metricOf(name, digits)
  if (metric === undefined || boundText === undefined) return undefined
  const bound = parseBound(metric, boundText)
  if (bound === undefined) return undefined
  return { expression: expression.trim(), metric, operator: operator as Operator, bound }
}

/** `p50` is the 50th percentile, `p99` the 99th, `p999` and `p99.9` both the 99.9th. */
const metricOf = (name: string, digits: string | undefined): SloMetric | undefined => {
  if (name === 'p' && digits !== undefined) {
    const percentile = Number(digits.includes('.') ? digits : `${digits.slice(0, 2)}.${digits.slice(2)}`)
    return percentile > 0 && percentile < 100 ? { kind: 'percentile', percentile } : undefined
  }
  const isPlain = name === 'mean' || name === 'max' || name === 'errors' || name === 'rate'
  return isPlain && digits === undefined ? { kind: name } : undefined
}

const parseBound = ({ kind }: SloMetric, text: string): number | undefined => {
  if (kind === 'errors') return parseShare(text)
  return kind === 'rate' ? parseRatePerSecond(text) : parseDurationMs(text)
}

/** Holds a run against an SLO. What was not measured was not kept. */
export const judgeSlo = ({ expression, metric, operator, bound }: Slo, run: Observed): SloOutcome => {
  const observed = valueOf(metric, run)
  return { expression, observed, passed: observed !== null && holds[operator](observed, bound) }
}

const holds: Readonly<Record<Operator, (observed: number, bound: number) => boolean>> = {
  '<': (observed, bound) => observed < bound,
  '<=': (observed, bound) => observed <= bound,
  '>': (observed, bound) => observed > bound,
  '>=': (observed, bound) => observed >= bound,
}

const valueOf = (metric: SloMetric, run: Observed): number | null => {
  if (metric.kind === 'percentile') return run.percentileMs(metric.percentile)
  return { mean: run.meanMs, max: run.maxMs, errors: run.errorShare, rate: run.ratePerSecond }[metric.kind]
}
