import type { Fields } from '../statement.ts'

/** An item as clients see it. */
export type Item = {
  readonly id: string
  readonly name: string
  readonly note: string
  readonly quantity: number
  /** Counts the changes; it is the entity tag. */
  readonly version: number
  /** RFC 3339, UTC, to the microsecond. */
  readonly createdAt: string
  readonly updatedAt: string
}

/** The select list behind `itemOf`. */
export const itemColumns = 'id, name, note, quantity, version, created_at, updated_at'

export const itemOf = (fields: Fields): Item => ({
  id: fields[0]!,
  name: fields[1]!,
  note: fields[2]!,
  quantity: Number(fields[3]),
  version: Number(fields[4]),
  createdAt: rfc3339(fields[5]!),
  updatedAt: rfc3339(fields[6]!),
})

// The session's time zone is UTC and its date style ISO: 2026-11-20 13:29:13.123456+00
const rfc3339 = (timestamp: string): string => `${timestamp.slice(0, 10)}T${timestamp.slice(11, -3)}Z`
