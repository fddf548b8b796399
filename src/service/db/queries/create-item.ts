import { statement } from '../statement.ts'
import { itemColumns, itemOf, type Item } from './item.ts'

/** Adds an item under an id that the caller made (UUID version 7, so that ids are in the order of creation). */
export const createItem = statement<Item, [id: string, name: string, note: string, quantity: number]>(
  'create-item',
  `insert into items (id, name, note, quantity) values ($1::uuid, $2, $3, $4::integer) returning ${itemColumns}`,
  itemOf,
)
