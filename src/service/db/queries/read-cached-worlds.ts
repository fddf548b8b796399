import { statement } from '../statement.ts'
import { readWorld, type World } from './read-world.ts'

/** Reads rows of `cached_world`, in no order. The ids are an array in PostgreSQL's text form, `{1,2,3}`. */
export const readCachedWorlds = statement<World, [ids: string]>(
  'read-cached-worlds',
  'select id, randomnumber from cached_world where id = any($1::integer[])',
  readWorld.row,
)
