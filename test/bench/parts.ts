/** Timing small pieces of code against each other in one process. */
import { median, type Spread } from './result.ts'

export type Part = {
  readonly name: string
  /** Of requests, the share that needs it. */
  readonly share: number
  /** How many of what is told of one call does; default 1. */
  readonly each?: number
  /** One execution; `i` counts them. What it makes must go where the engine cannot tell that nobody looks. */
  readonly run: (i: number) => unknown
}

export type PartResult = {
  readonly part: Part
  /** Of one execution without the loop around it, in nanoseconds. */
  readonly ns: Spread
}

export type PartOptions = {
  readonly rounds: number
  /** How long a part runs in each round. */
  readonly batchMs: number
  /** Milliseconds; default: `performance.now`. */
  readonly now?: () => number
}

/** Does nothing, as often as the parts do something. */
export const baseline: Part = { name: 'the loop', share: 1, run: (i) => i }

type Timed = { readonly part: Part; readonly loop: (times: number) => number; readonly times: number }

/** A function of its own for each part: one that served all would be as slow as the engine makes calls of any function. */
const loopOf = ({ run }: Part, now: () => number): ((times: number) => number) => {
  // eslint-disable-next-line typescript/no-implied-eval -- the only way to have code compiled once for each part
  const make = new Function(
    'run',
    'now',
    'return (times) => { const from = now(); for (let i = 0; i < times; i++) run(i); return now() - from }',
  ) as (run: Part['run'], now: () => number) => (times: number) => number
  return make(run, now)
}

const warmupTimes = 20_000
const leastTimes = 16

/** Warms a part up and finds out how often it fits into a batch. */
const calibrate = (part: Part, { batchMs, now = () => performance.now() }: PartOptions): Timed => {
  const loop = loopOf(part, now)
  const warmup = Math.ceil(warmupTimes / (part.each ?? 1))
  loop(warmup)
  const tookMs = loop(warmup)
  return { part, loop, times: Math.max(leastTimes, Math.round((warmup * batchMs) / Math.max(tookMs, 1e-3))) }
}

/** Half a batch goes first and does not count: the caches and the heap are then as this part leaves them, not the one before. */
const nsOf = ({ part, loop, times }: Timed): number => {
  loop(times >> 1)
  return (loop(times) * 1e6) / times / (part.each ?? 1)
}

/** Runs all parts in turn, round after round; of each round's times the baseline's of that round is taken off. */
export const runParts = (parts: readonly Part[], options: PartOptions): readonly PartResult[] => {
  const loop = calibrate(baseline, options)
  const timed = parts.map((part) => calibrate(part, options))
  const seen: number[][] = parts.map(() => [])
  for (let round = 0; round < options.rounds; round++) {
    const without = nsOf(loop)
    timed.forEach((each, i) => seen[i]!.push(nsOf(each) - without / (each.part.each ?? 1)))
  }
  return parts.map((part, i) => ({ part, ns: spreadOf(seen[i]!) }))
}

const spreadOf = (ns: readonly number[]): Spread => ({
  median: median(ns),
  min: Math.min(...ns),
  max: Math.max(...ns),
})

/** What a part costs a request on average, in nanoseconds. */
export const costOf = ({ part, ns }: PartResult): number => ns.median * part.share

export const sumOf = (results: readonly PartResult[]): number =>
  results.reduce((total, result) => total + costOf(result), 0)
