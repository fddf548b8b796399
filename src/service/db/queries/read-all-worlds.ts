import { statement } from '../statement.ts'
import { readWorld, type World } from './read-world.ts'

/** Reads the whole of `world`, to fill a cache. */
export const readAllWorlds = statement<World, []>(
  'read-all-worlds',
  'select id, randomnumber from world',
  readWorld.row,
)
