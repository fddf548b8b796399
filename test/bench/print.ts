/** Results as text: what was promised first, absolute numbers after it. */
import type { RowResult, Spread } from './result.ts'
import { participants, type Row, type Server, type ServerName, subjectOf, type Target } from './rows.ts'

const sign = ({ direction }: Target) => (direction === 'at least' ? '≥' : '≤')

const against = (row: Row): string => {
  if (row.kind === 'memory') return row.against === undefined ? 'MB resident' : `MB more than ${row.against}`
  return typeof row.against === 'number' ? `of ${row.against.toLocaleString('en')}/s` : `× ${row.against}`
}

const digitsOf = (row: Row) => (row.kind === 'memory' ? 0 : 2)

const describeSpread = ({ median, min, max }: Spread, digits: number): readonly [string, string] => [
  median.toFixed(digits),
  `${min.toFixed(digits)}..${max.toFixed(digits)}`,
]

const promised = ({ row, figure, verdict, counts, byCpu }: RowResult): readonly string[] => {
  const { target } = row
  const line = (value: number | undefined) => (value === undefined ? '' : `${sign(target)} ${value}`)
  const [middle, spread] = describeSpread(figure, digitsOf(row))
  const reached = counts ? verdict : `${verdict}, all rounds void`
  const lines = [line(target.bar), line(target.stretch)]
  return [row.name, row.path, subjectOf(row), middle, against(row), spread, byCpu?.toFixed(2) ?? '', ...lines, reached]
}

const unitOf: Record<Row['kind'], string> = { load: 'requests/s', start: 'ms', memory: 'MB' }

const rounded = (value: number | undefined) => value?.toLocaleString('en', { maximumFractionDigits: 0 }) ?? ''

/** The servers that took part. */
const columnsOf = (results: readonly RowResult[]): readonly ServerName[] =>
  [...new Set(results.flatMap(({ row }) => participants(row)))].filter((name) =>
    results.some(({ absolute }) => absolute[name] !== undefined),
  )

const absoluteTable = (results: readonly RowResult[]): string => {
  const columns = columnsOf(results)
  const line = ({ row, absolute, cpuUs }: RowResult): readonly string[] => [
    row.name,
    unitOf[row.kind],
    ...columns.map((name) => rounded(absolute[name]?.median)),
    ...columns.map((name) => rounded(cpuUs[name])),
  ]
  return table([['row', 'unit', ...columns, ...columns.map((name) => `${name} µs`)], ...results.map(line)])
}

/** Lines up columns, two spaces apart. */
export const table = (lines: readonly (readonly string[])[]): string => {
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)))
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

const notes = (results: readonly RowResult[]): readonly string[] =>
  results.flatMap(({ row, notes }) => notes.map((note) => `${row.name}: ${note}`))

const legend = (results: readonly RowResult[], servers: Partial<Record<ServerName, Server>>): string =>
  table(columnsOf(results).flatMap((name) => (servers[name] === undefined ? [] : [[name, servers[name].title]])))

/** The whole report; ratios are medians over the rounds, with the least and the greatest beside them. */
export const report = (results: readonly RowResult[], servers: Partial<Record<ServerName, Server>>): string =>
  [
    table([
      ['row', 'path', 'who', 'median', 'against', 'min..max', 'by CPU', 'bar', 'stretch', 'verdict'],
      ...results.map(promised),
    ]),
    absoluteTable(results),
    legend(results, servers),
    notes(results).join('\n'),
  ]
    .filter(Boolean)
    .join('\n\n')
