import { statement } from '../statement.ts'
import { itemColumns, itemOf, type Item } from './item.ts'

/** Changes an item if it still has the version that the caller saw (null: any); no row where it has not, or is gone. */
export const updateItem = statement<
  Item,
  [id: string, version: number | null, name: string, note: string, quantity: number]
>(
  'update-item',
  `update items set name = $3, note = $4, quantity = $5::integer, version = version + 1, updated_at = now()
   where id = $1::uuid and version = coalesce($2::integer, version) returning ${itemColumns}`,
  itemOf,
)
