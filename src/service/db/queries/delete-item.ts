import { statement } from '../statement.ts'

/** Deletes an item if it still has the version that the caller saw (null: any); returns its id, or no row. */
export const deleteItem = statement<string, [id: string, version: number | null]>(
  'delete-item',
  'delete from items where id = $1::uuid and version = coalesce($2::integer, version) returning id',
  ([id]) => id!,
)
