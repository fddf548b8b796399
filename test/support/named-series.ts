/** A part of an expression that can be asked for on its own: `name` or `name{label="value"}`, without its range. */
export type NamedSeries = { readonly name: string; readonly selector: string }

const string = String.raw`"(?:\\.|[^"\\])*"`
const braces = String.raw`\{(?:${string}|[^"}])*\}`
const clauses = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/g
const pieces = new RegExp(`${string}|([a-zA-Z_:][\\w:]*)(\\s*${braces})?(\\s*\\()?|[\\d.]+(?:[a-z]+)?`, 'g')
const words = new Set(['and', 'or', 'unless', 'bool', 'offset', 'group_left', 'group_right', 'atan2'])
const numbers = /^(?:inf|nan)$/i

/** Every series that an expression of PromQL names, with its matchers. Bare braces, without a name, are not seen. */
export const seriesNamedIn = (expression: string): NamedSeries[] => {
  const bare = expression.replaceAll(clauses, ' ')
  return [...bare.matchAll(pieces)].flatMap(([, name, matchers = '', call]) =>
    name === undefined || call !== undefined || words.has(name) || numbers.test(name)
      ? []
      : [{ name, selector: `${name}${matchers.trim()}` }],
  )
}

/** The metric that a series belongs to: those of a histogram have names of their own. */
export const metricOf = (series: string, isMetric: (name: string) => boolean): string => {
  const base = series.replace(/_(?:bucket|sum|count)$/, '')
  return !isMetric(series) && isMetric(base) ? base : series
}
