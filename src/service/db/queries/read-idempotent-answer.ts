import { statement } from '../statement.ts'

export type IdempotentAnswer = { readonly fingerprint: string; readonly answer: string }

/** Reads what the first request with a key asked and was told. */
export const readIdempotentAnswer = statement<IdempotentAnswer, [key: string]>(
  'read-idempotent-answer',
  'select fingerprint, answer from idempotency_keys where key = $1 and answer is not null',
  (fields) => ({ fingerprint: fields[0]!, answer: fields[1]! }),
)
