import {
  outcomes,
  type LatencySummary,
  type Outcome,
  type RunResult,
  type TimelinePoint,
} from '../../contract/run-result.ts'
import { formatCount, formatDuration, formatMs, formatRate, formatShare } from '../../kit/units.ts'

/** A run for people: whether it can be trusted first, then what was asked next to what happened. Plain text. */
export const describeRun = (run: RunResult): string =>
  [
    [...verdictLines(run), ...sloLines(run)],
    [...rateLines(run), ...outcomeLines(run)],
    timeLines(run),
    instanceLines(run),
  ]
    .filter((block) => block.length > 0)
    .map((block) => block.join('\n'))
    .join('\n\n')
    .concat('\n')

/** One second of a run, for people who wait for its end. */
export const describeSecond = ({ atMs, sent, answered, errors, p50, p99, inFlight }: TimelinePoint): string => {
  const latency = p50 === null || p99 === null ? 'no answers' : `p50 ${formatMs(p50)}  p99 ${formatMs(p99)}`
  const elapsed = `${Math.round(atMs / 1_000) + 1} s`.padStart(5)
  return `${elapsed}  sent ${formatCount(sent)}/s  answered ${formatCount(answered)}/s  errors ${formatCount(errors)}  ${latency}  in flight ${formatCount(inFlight)}`
}

const labelWidth = 14

const line = (label: string, text: string): string => label.padEnd(labelWidth) + text

const verdictLines = ({ verdict }: RunResult): string[] => [
  line('Verdict', verdict.status.toUpperCase()),
  ...verdict.reasons.map((reason) => line('', `- ${reason}`)),
]

const sloLines = ({ slos }: RunResult): string[] => {
  const width = Math.max(...slos.map(({ expression }) => expression.length))
  return slos.map(({ expression, observed, passed }, index) => {
    const shown = observed === null ? 'not measured' : formatObserved(expression, observed)
    return line(index === 0 ? 'SLOs' : '', `${passed ? 'passed' : 'FAILED'}  ${expression.padEnd(width)}  ${shown}`)
  })
}

const formatObserved = (expression: string, observed: number): string => {
  if (expression.startsWith('errors')) return formatShare(observed)
  return expression.startsWith('rate') ? formatRate(observed) : formatMs(observed)
}

const rateLines = ({ requested, achieved, seed }: RunResult): string[] => {
  const warmup = requested.warmupMs === 0 ? '' : ` after ${formatDuration(requested.warmupMs)} of warm-up`
  return [
    line('Target', `${requested.method} ${requested.targets.join(', ')}`),
    line(
      'Rate',
      `requested ${formatRate(requested.rate)} (${requested.arrivals}, seed ${seed})  ` +
        `sent ${formatRate(achieved.sentPerSecond)}  answered ${formatRate(achieved.ratePerSecond)}`,
    ),
    line('Requests', `${formatCount(achieved.requests)} in ${formatDuration(achieved.durationMs)}${warmup}`),
  ]
}

const outcomeWords: Readonly<Record<Outcome, string>> = {
  ok: 'ok',
  httpError: 'HTTP errors',
  timeout: 'timed out',
  connectionError: 'connection errors',
  censored: 'cut off unanswered',
}

const outcomeLines = (run: RunResult): string[] => {
  const ends = outcomes.filter((outcome) => outcome === 'ok' || run.outcomes[outcome] > 0)
  const missed = run.achieved.missed === 0 ? [] : [`${formatCount(run.achieved.missed)} never sent`]
  const shown = ends.map((outcome) => `${formatCount(run.outcomes[outcome])} ${outcomeWords[outcome]}`)
  return [
    line('Outcomes', [...shown, ...missed].join(', ')),
    ...countLine('Statuses', run.statuses),
    ...countLine('Errors', run.errors),
  ]
}

const countLine = (label: string, counts: Readonly<Record<string, number>>): string[] => {
  const entries = Object.entries(counts)
  return entries.length === 0 ? [] : [line(label, entries.map(([key, n]) => `${key}: ${formatCount(n)}`).join('  '))]
}

const columns = { mean: 'mean', p50: 'p50', p90: 'p90', p95: 'p95', p99: 'p99', p999: 'p99.9', max: 'max' } as const
const columnWidth = 11

const timeLines = ({ latencyMs, serviceTimeMs, sendLagMs }: RunResult): string[] => [
  line('', row(Object.values(columns))),
  timeLine('Latency', latencyMs, '(from the intended start)'),
  timeLine('Service time', serviceTimeMs, '(from the actual send)'),
  timeLine('Send lag', sendLagMs, '(actual send - intended start)'),
]

const timeLine = (label: string, summary: LatencySummary | null, meaning: string): string => {
  const cells = keysOf(columns).map((key) => (summary === null ? '-' : formatMs(summary[key])))
  return line(label, `${row(cells)}   ${meaning}`)
}

const row = (cells: readonly string[]): string => cells.map((cell) => cell.padStart(columnWidth)).join('')

const keysOf = <Key extends string>(record: Readonly<Record<Key, unknown>>): Key[] => Object.keys(record) as Key[]

const instanceLines = ({ instances }: RunResult): string[] => {
  const entries = Object.entries(instances)
  const total = entries.reduce((sum, [, { requests }]) => sum + requests, 0)
  const width = Math.max(...entries.map(([name]) => name.length))
  return entries.map(([name, { requests, errors }], index) => {
    const failed = errors === 0 ? '' : `  ${formatCount(errors)} errors`
    const share = `${formatCount(requests).padStart(columnWidth)}  ${formatShare(requests / total).padStart(7)}`
    return line(index === 0 ? 'Instances' : '', `${name.padEnd(width)}${share}${failed}`)
  })
}
