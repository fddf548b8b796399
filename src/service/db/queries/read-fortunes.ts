import { statement } from '../statement.ts'

export type Fortune = { readonly id: number; readonly message: string }

/** Reads all rows of `fortune`, in no order. */
export const readFortunes = statement<Fortune, []>('read-fortunes', 'select id, message from fortune', (fields) => ({
  id: Number(fields[0]),
  message: fields[1]!,
}))
