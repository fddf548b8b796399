import { statement } from '../statement.ts'

/**
 * Claims a key for 24 hours, inside the transaction that has the effect. Returns it if it was free or had expired.
 * Waits for another transaction that holds it, and returns no row when that one commits.
 */
export const claimIdempotencyKey = statement<string, [key: string, fingerprint: string]>(
  'claim-idempotency-key',
  `insert into idempotency_keys as held (key, fingerprint, expires_at) values ($1, $2, now() + interval '24 hours')
   on conflict (key) do update
     set fingerprint = excluded.fingerprint, answer = null, expires_at = excluded.expires_at
     where held.expires_at < now()
   returning key`,
  ([key]) => key!,
)
