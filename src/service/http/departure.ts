import type { ProblemCode } from '../../contract/problems.ts'
import { Failure } from '../../kit/errors.ts'
import type { ServiceContext } from './lean-koa.ts'

/**
 * A signal that aborts with `client-closed-request` when the connection closes before the answer is written: whoever
 * works for this request can stop.
 */
export const departure = ({ res }: ServiceContext): AbortSignal => {
  const controller = new AbortController()
  if (res.destroyed) controller.abort(departed())
  else res.once('close', () => !res.writableFinished && controller.abort(departed()))
  return controller.signal
}

const departed = (): Failure<ProblemCode> => new Failure('client-closed-request')
