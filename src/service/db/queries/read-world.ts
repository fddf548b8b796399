import { statement } from '../statement.ts'

export type World = { readonly id: number; readonly randomNumber: number }

/** Reads one row of `world` by its id, 1 to 10,000. */
export const readWorld = statement<World, [id: number]>(
  'read-world',
  'select id, randomnumber from world where id = $1::integer',
  (fields) => ({ id: Number(fields[0]), randomNumber: Number(fields[1]) }),
)
