import type { ProblemCode } from '../../contract/problems.ts'
import { Failure } from '../../kit/errors.ts'
import type { ServiceContext } from '../http/lean-koa.ts'
import { HttpFailure } from '../http/problem.ts'
import { rawHeader } from '../http/raw-header.ts'
import type { Handler } from '../http/router.ts'

/**
 * Lets only those call a handler who send the token as `Authorization: Bearer TOKEN` (RFC 6750); others are told
 * `unauthorized`. Without a token configured nobody may: `faults-not-configured`.
 */
export const withToken =
  (token: string | undefined, handler: Handler): Handler =>
  async (ctx) => {
    if (token === undefined) {
      throw new Failure<ProblemCode>('faults-not-configured', { detail: 'start the service with ADMIN_TOKEN set' })
    }
    if (!(await isSame(bearer(ctx), token))) {
      const detail = 'send the value of ADMIN_TOKEN as Authorization: Bearer TOKEN'
      throw new HttpFailure('unauthorized', { 'WWW-Authenticate': 'Bearer realm="admin"' }, detail)
    }
    await handler(ctx)
  }

const bearer = ({ req }: ServiceContext): string =>
  /^bearer +(\S+)$/i.exec(rawHeader(req, 'authorization') ?? '')?.[1] ?? ''

/** In a time that tells nothing of where the two differ, nor of how long the token is: digests are compared. */
const isSame = async (given: string, token: string): Promise<boolean> => {
  // Not loaded before: a replica that starts has no use for it.
  const { hash, timingSafeEqual } = await import('node:crypto')
  return timingSafeEqual(hash('sha256', given, 'buffer'), hash('sha256', token, 'buffer'))
}
