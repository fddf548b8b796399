import { statement } from '../statement.ts'
import { itemColumns, itemOf, type Item } from './item.ts'

/** Before every id there is: where the first page starts. */
export const newest = 'ffffffff-ffff-ffff-ffff-ffffffffffff'

/** Reads a page of items, newest first, from the one after `before` on: its cost does not grow with the page's depth. */
export const listItems = statement<Item, [before: string, limit: number]>(
  'list-items',
  `select ${itemColumns} from items where id < $1::uuid order by id desc limit $2::integer`,
  itemOf,
)
