import { statement } from '../statement.ts'

/** Cancels what another connection of ours, named by its server process, is running. */
export const cancelBackend = statement<boolean, [processId: number]>(
  'cancel-backend',
  'select pg_cancel_backend($1::integer)',
  ([cancelled]) => cancelled === 't',
)
