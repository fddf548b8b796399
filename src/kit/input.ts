import * as z from 'zod'
import type { Mistake } from './errors.ts'

/**
 * A schema for what a text stands for: `read` gives that, or undefined where the text is wrong, which is told as
 * `accepted`.
 */
export const textAs = <Value>(
  accepted: string,
  read: (text: string) => Value | undefined,
): z.ZodType<Value, string | undefined> =>
  readAs<Value, string>(accepted, (given) => (typeof given === 'string' ? read(given) : undefined))

/**
 * As `textAs`, for any value. One part of zod where a chain of checks and transforms would be five: a process that starts
 * makes a hundred of them.
 */
export const readAs = <Value, Given = unknown>(
  accepted: string,
  read: (given: unknown) => Value | undefined,
): z.ZodType<Value, Given | undefined> => {
  const schema = z.transform((given: unknown, context) => {
    const value = read(given)
    if (value !== undefined) return value
    context.issues.push({ code: 'custom', message: accepted, input: given })
    return z.NEVER
  })
  // To zod a transform of its own might make a value of nothing; this one needs something.
  schema._zod.optin = undefined
  return schema as unknown as z.ZodType<Value, Given | undefined>
}

/** The number that a text of digits spells, if it is from `min` to `max`. */
export const wholeWithin =
  (min: number, max: number) =>
  (text: string): number | undefined => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN
    return value >= min && value <= max ? value : undefined
  }

/** The text itself, if it has this shape. */
export const shaped =
  (shape: RegExp) =>
  (text: string): string | undefined =>
    shape.test(text) ? text : undefined

/** More would only help who wants to have a long answer from a short request. */
const mostMistakes = 50
const longestField = 80
const longestEcho = 200

/**
 * Every mistake that a failed parse of an object found, one for each field, at most 50, in the grammar of
 * `describeMistake`. The schema's messages are taken as what is accepted: `z.string('a word')`, `.min(1, 'a word')`; but for
 * an unknown field of the object itself, where that are those in `shape`.
 */
export const mistakesOf = (
  { shape }: { readonly shape: Readonly<Record<string, unknown>> },
  given: Readonly<Record<string, unknown>>,
  error: z.ZodError,
): Mistake[] => {
  const byField = new Map<string, Mistake>()
  const add = (field: string, value: unknown, accepted: string): void => {
    if (byField.size === mostMistakes || byField.has(field)) return
    byField.set(field, { field: shortened(field), value: echoed(value), accepted })
  }
  for (const issue of error.issues) {
    const unknown = issue.code === 'unrecognized_keys' ? issue.keys : []
    const accepted = unknown.length > 0 && issue.path.length === 0 ? onlyThoseOf(shape) : issue.message
    const paths = unknown.length > 0 ? unknown.map((key) => [...issue.path, key]) : [issue.path]
    for (const path of paths) add(path.join('.') || '(all)', valueAt(given, path), accepted)
  }
  return [...byField.values()]
}

const onlyThoseOf = (shape: Readonly<Record<string, unknown>>): string => {
  const known = Object.keys(shape)
  return known.length === 0 ? 'nothing here' : `only ${known.join(', ')}`
}

const shortened = (field: string): string => (field.length > longestField ? `${field.slice(0, longestField)}…` : field)

/** A small value itself, of a large list or object its kind: deep JSON overflows the stack of who writes it. */
const echoed = (value: unknown): unknown => {
  if (typeof value !== 'object' || value === null || isSmall(value)) return value
  return Array.isArray(value) ? '(a large list)' : '(a large object)'
}

const isSmall = (value: object): boolean => {
  try {
    return JSON.stringify(value).length <= longestEcho
  } catch {
    return false
  }
}

const valueAt = (given: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], given)
