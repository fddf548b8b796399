import type { Cancellation } from '../../kit/cancellation.ts'
import type { Session } from './pool.ts'
import { readWorld, type World } from './queries/read-world.ts'
import { updateWorlds } from './queries/update-worlds.ts'

/** Rows of the table `world`, with ids 1 to this. */
export const worldRows = 10_000

/** A whole number from 1 to 10,000, uniform: an id of `world`, or a new number for one of its rows. */
export const randomWorldNumber = (random: () => number): number => 1 + Math.floor(random() * worldRows)

/** Reads `count` random rows with a statement each, all on their way at once. */
export const readRandomWorlds = async (
  session: Session,
  count: number,
  random: () => number,
  cancel?: Cancellation,
): Promise<World[]> => {
  const readOne = async (): Promise<World> => {
    const [world] = await session.run(readWorld, [randomWorldNumber(random)], cancel)
    if (world === undefined) throw new Error('table world is not complete')
    return world
  }
  return Promise.all(Array.from({ length: count }, readOne))
}

/**
 * Reads `count` random rows with a statement each, gives each another number, and writes them with one statement. A row
 * that came up twice gets one number, so that what is returned is what is stored.
 */
export const updateRandomWorlds = async (
  session: Session,
  count: number,
  random: () => number,
  cancel?: Cancellation,
): Promise<World[]> => {
  const read = await readRandomWorlds(session, count, random, cancel)
  const numbers = new Map(read.map(({ id }) => [id, randomWorldNumber(random)]))
  const arrays: [string, string] = [`{${[...numbers.keys()].join()}}`, `{${[...numbers.values()].join()}}`]
  await session.run(updateWorlds, arrays, cancel)
  return read.map(({ id }) => ({ id, randomNumber: numbers.get(id)! }))
}
