import { statement } from '../statement.ts'

/** Keeps the answer that every later request with the key is given. */
export const keepIdempotentAnswer = statement<void, [key: string, answer: string]>(
  'keep-idempotent-answer',
  'update idempotency_keys set answer = $2 where key = $1',
  () => {},
)
