import { statement } from '../statement.ts'
import { itemColumns, itemOf, type Item } from './item.ts'

/** Reads one item; no row where there is none. */
export const readItem = statement<Item, [id: string]>(
  'read-item',
  `select ${itemColumns} from items where id = $1::uuid`,
  itemOf,
)
