/** A selector in an expression: `rate(name{label="..."}[5m])` has the name, the labels, and is within `rate`. */
export type Selector = {
  readonly name: string
  readonly labels: readonly string[]
  /** The function whose first argument it is; empty where it stands alone. */
  readonly within: string
}

const keywords = new Set('or and unless by without on ignoring group_left group_right bool offset'.split(' '))

/** Strings become empty ones, so that what stands in them is not taken for names. */
const withoutStrings = (expr: string): string => expr.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""')

const labelLists = /\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)/g
const ranges = /\[[^\]]*\]/g
const selector = /(?:(\w+)\s*\(\s*)?(?<![\w:{,])([a-zA-Z_:][\w:]*)(?:\s*\{([^}]*)\}|(?![\w:]*\s*\())/g
const names = (list: string): string[] => list.match(/[a-zA-Z_]\w*/g) ?? []

/** Every selector of an expression, and where it stands. */
export const selectorsOf = (expr: string): Selector[] =>
  [...withoutStrings(expr).replaceAll(labelLists, ' ').replaceAll(ranges, '').matchAll(selector)]
    .filter(([, , name]) => !keywords.has(name!))
    .map(([, within = '', name, matchers = '']) => ({
      name: name!,
      labels: matchers.split(',').flatMap((matcher) => names(matcher.split(/[=!]/)[0]!)),
      within,
    }))

/** Every label that an expression keeps apart or matches series by. */
export const labelsKept = (expr: string): string[] =>
  [...withoutStrings(expr).matchAll(labelLists)].flatMap(([, , list]) => names(list!))
