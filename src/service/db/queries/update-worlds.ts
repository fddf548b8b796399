import { statement } from '../statement.ts'

/**
 * Updates rows of `world` in one statement. Ids and numbers are arrays in PostgreSQL's text form, `{1,2,3}`.
 *
 * Rows are locked in the order of their ids, so that concurrent updates cannot deadlock: a nested loop goes through the
 * sorted ids. Inside a `select` of its own the planner cannot see how long an array is, and takes it for short. Otherwise
 * it would make a hash join for a hundred ids or more, which locks in the order of the table's pages.
 */
export const updateWorlds = statement<void, [ids: string, randomNumbers: string]>(
  'update-worlds',
  `update world set randomnumber = new.randomnumber
   from (select unnest((select $1::integer[])) as id, unnest((select $2::integer[])) as randomnumber order by 1) as new
   where world.id = new.id`,
  () => {},
)
