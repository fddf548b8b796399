import type { ProblemCode } from '../../contract/problems.ts'
import type { Cancellation } from '../../kit/cancellation.ts'
import { Failure } from '../../kit/errors.ts'
import type { Database } from './database.ts'
import type { Session } from './pool.ts'
import { claimIdempotencyKey } from './queries/claim-idempotency-key.ts'
import { keepIdempotentAnswer } from './queries/keep-idempotent-answer.ts'
import { readIdempotentAnswer } from './queries/read-idempotent-answer.ts'

export type IdempotentRequest = {
  /** Chosen by the client, one for each effect that it wants. */
  readonly key: string
  /** Stands for what is asked: the same key with another one is a mistake of the client. */
  readonly fingerprint: string
}

export type IdempotentAnswer = { readonly answer: string; readonly replayed: boolean }

/**
 * Has an effect at most once for a key. The key, the effect and its answer commit together; requests with the same key
 * that come meanwhile wait for that and get the same answer. An effect that throws leaves the key free.
 * Fails with `idempotency-key-reused` where the key stands for another request, and on abort with `cancel.reason`; then
 * there was no effect, unless the abort came while it was being committed.
 */
export const idempotently = (
  database: Database,
  { key, fingerprint }: IdempotentRequest,
  effect: (session: Session) => Promise<string>,
  cancel?: Cancellation,
): Promise<IdempotentAnswer> =>
  database.transaction(async (session) => {
    const [claimed] = await session.run(claimIdempotencyKey, [key, fingerprint])
    if (claimed !== undefined) {
      const answer = await effect(session)
      await session.run(keepIdempotentAnswer, [key, answer])
      return { answer, replayed: false }
    }
    const [first] = await session.run(readIdempotentAnswer, [key])
    if (first?.fingerprint !== fingerprint) {
      throw new Failure<ProblemCode>('idempotency-key-reused', { detail: 'the key came with another request before' })
    }
    return { answer: first.answer, replayed: true }
  }, cancel)
