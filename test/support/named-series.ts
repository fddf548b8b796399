/** A part of an expression that can be asked for on its own: `name` or `name{label="value"}`, without its range. */
export type NamedSeries = {
  readonly name: string
  readonly selector: string
  /** Those that it is chosen by. */
  readonly labels: readonly string[]
  /** The function or aggregation that it is the first thing in; empty where it stands alone. */
  readonly within: string
}

const string = String.raw`"(?:\\.|[^"\\])*"`
const braces = String.raw`\{(?:${string}|[^"}])*\}`
const labelList = String.raw`\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)`
const number = String.raw`[\d.]+[a-z]*`
const range = String.raw`\[[^\]]*\]`
const named = String.raw`([a-zA-Z_:][\w:]*)(\s*${braces})?`
// Strings first: what stands in one is taken for nothing else.
const pieces = new RegExp(`${string}|${labelList}|${number}|${range}|${named}`, 'g')
const words = new Set(['and', 'or', 'unless', 'bool', 'offset', 'group_left', 'group_right', 'atan2'])
const numbers = /^(?:inf|nan)$/i
/** What follows the name of a function or of an aggregation, and what goes before its first argument. */
const called = /^\s*(?:\(|(?:by|without)\b)/
const opening = new RegExp(String.raw`(\w+)\s*(?:${labelList}\s*)?\(\s*$`)

/** Every series that an expression of PromQL names, with its matchers. Bare braces, without a name, are not seen. */
export const seriesNamedIn = (expression: string): NamedSeries[] =>
  [...expression.matchAll(pieces)].flatMap(({ 0: whole, 2: name, 3: matchers = '', index }) => {
    const isCall = called.test(expression.slice(index + whole.length))
    if (name === undefined || isCall || words.has(name) || numbers.test(name)) return []
    const within = opening.exec(expression.slice(0, index))?.[1] ?? ''
    return [{ name, selector: `${name}${matchers.trim()}`, labels: labelsIn(matchers), within }]
  })

const strings = new RegExp(string, 'g')
const labelsIn = (matchers: string): string[] => matchers.replaceAll(strings, '').match(/[a-zA-Z_]\w*/g) ?? []

/** Every label by which an expression keeps series apart or matches them. */
export const labelsKeptIn = (expression: string): string[] =>
  [...expression.matchAll(pieces)].flatMap(([, labels = '']) => labels.match(/\w+/g) ?? [])

/** The metric that a series belongs to: those of a histogram have names of their own. */
export const metricOf = (series: string, isMetric: (name: string) => boolean): string => {
  const base = series.replace(/_(?:bucket|sum|count)$/, '')
  return !isMetric(series) && isMetric(base) ? base : series
}
