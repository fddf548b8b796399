import { statement } from '../statement.ts'

/** Deletes keys that have expired, a bounded number at a time so that it never holds the table for long. */
export const deleteExpiredIdempotencyKeys = statement<string, [most: number]>(
  'delete-expired-idempotency-keys',
  `delete from idempotency_keys where key in
     (select key from idempotency_keys where expires_at < now() order by expires_at limit $1::integer for update skip locked)
   returning key`,
  ([key]) => key!,
)
