/** From rounds to a row's result: pure, so that the bench itself can be tested. */
import { type LoadRow, type Row, type ServerName, subjectOf, type Target } from './rows.ts'

/** What one server did in one round: requests per second, milliseconds or megabytes, as the row's kind says. */
export type Figure = {
  readonly value: number
  /** Share of its core that the server used, 1 being all of it; only under load. */
  readonly coreShare?: number
  /** Answers outside 2xx and 3xx, connections that failed and requests that timed out, together. */
  readonly failures?: number
}

/** One turn of every server, close in time, so that a noisy neighbour meets them all. */
export type Round = Readonly<Partial<Record<ServerName, Figure>>>

export type Spread = { readonly median: number; readonly min: number; readonly max: number }

export type Verdict = 'stretch' | 'met' | 'missed'

export type RowResult = {
  readonly row: Row
  /** The promised figure: a ratio within each round, megabytes, or the difference of those within each round. */
  readonly figure: Spread
  readonly verdict: Verdict
  /** False when no round counted and the figure comes from void ones. */
  readonly counts: boolean
  /** The same ratio in requests per second of CPU time: it hardly moves when something else is the limit. */
  readonly byCpu: number | undefined
  readonly absolute: Readonly<Partial<Record<ServerName, Spread>>>
  /** CPU time of the server per request, in microseconds. */
  readonly cpuUs: Readonly<Partial<Record<ServerName, number>>>
  readonly notes: readonly string[]
  readonly rounds: readonly Round[]
}

/** A server that used less of its core than this was not what limited the round. */
export const wholeCore = 0.9

const mustUseItsCore = (row: LoadRow): readonly ServerName[] => {
  const { wholeCoreOf, against } = row
  if (wholeCoreOf === 'none' || typeof against === 'number') return []
  return wholeCoreOf === 'both' ? [subjectOf(row), against] : [against]
}

/** Whether something other than a compared server limited this round, so that it compares nothing. */
export const isVoid = (row: Row, round: Round): boolean =>
  row.kind === 'load' && mustUseItsCore(row).some((name) => (round[name]?.coreShare ?? 1) < wholeCore)

export const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((left, right) => left - right)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

const spreadOf = (values: readonly number[]): Spread => ({
  median: median(values),
  min: Math.min(...values),
  max: Math.max(...values),
})

const promisedFigure = (row: Row, round: Round): number => {
  const ours = round[subjectOf(row)]!.value
  if (row.kind === 'memory') return ours - (row.against === undefined ? 0 : round[row.against]!.value)
  return ours / (typeof row.against === 'number' ? row.against : round[row.against]!.value)
}

const cpuUsOf = (rounds: readonly Round[], name: ServerName): number | undefined => {
  const used = rounds
    .map((round) => round[name]!)
    .filter(({ coreShare, value }) => coreShare !== undefined && value > 0)
  return used.length === 0 ? undefined : median(used.map(({ coreShare, value }) => (coreShare! * 1e6) / value))
}

const ratioByCpu = (row: Row, rounds: readonly Round[]): number | undefined => {
  if (row.kind !== 'load' || typeof row.against === 'number') return undefined
  return cpuUsOf(rounds, row.against)! / cpuUsOf(rounds, subjectOf(row))!
}

/** Whether a figure reaches its bar or even its stretch. */
export const judge = ({ direction, bar, stretch }: Target, figure: number): Verdict => {
  const reaches = (line: number) => (direction === 'at least' ? figure >= line : figure <= line)
  if (stretch !== undefined && reaches(stretch)) return 'stretch'
  return reaches(bar) ? 'met' : 'missed'
}

const failuresOf = (rounds: readonly Round[], name: ServerName) =>
  rounds.reduce((total, round) => total + (round[name]?.failures ?? 0), 0)

const coreShareOf = (rounds: readonly Round[], name: ServerName) =>
  median(rounds.map((round) => round[name]?.coreShare ?? 1))

const notesOn = (row: Row, rounds: readonly Round[], name: ServerName): string[] => {
  const failures = failuresOf(rounds, name)
  const share = coreShareOf(rounds, name)
  const starved = row.kind === 'load' && row.wholeCoreOf !== 'none' && share < wholeCore
  return [
    ...(failures > 0 ? [`${name}: ${failures} requests failed and are not counted`] : []),
    ...(starved ? [`${name} used only ${share.toFixed(2)} of its core: something else was the limit`] : []),
  ]
}

/** Medians over the rounds that count; over the void ones, with a note, when none does. */
export const summarise = (row: Row, measured: readonly Round[]): RowResult => {
  const valid = measured.filter((round) => !isVoid(row, round))
  const rounds = valid.length > 0 ? valid : measured
  const names = Object.keys(rounds[0]!) as ServerName[]
  const figure = spreadOf(rounds.map((round) => promisedFigure(row, round)))
  const absolute = names.map((name) => [name, spreadOf(rounds.map((round) => round[name]!.value))] as const)
  const voided =
    valid.length < measured.length ? [`${measured.length - valid.length} of ${measured.length} rounds void`] : []
  return {
    row,
    figure,
    verdict: judge(row.target, figure.median),
    counts: valid.length > 0,
    byCpu: ratioByCpu(row, rounds),
    absolute: Object.fromEntries(absolute),
    cpuUs: Object.fromEntries(names.map((name) => [name, cpuUsOf(rounds, name)])),
    notes: [...voided, ...names.flatMap((name) => notesOn(row, rounds, name))],
    rounds: measured,
  }
}
