import { InputError } from '../../kit/errors.ts'

const accepted = 'sha-256=:BASE64:, a SHA-256 of 32 bytes (RFC 9530)'
const member = /(?:^|,)[\t ]*sha-256=:([\w+/]{43}=):[\t ]*(?:;[^,]*)?(?=,|$)/

/**
 * The SHA-256, in hex, that a `Content-Digest` or `Repr-Digest` field names; undefined where it names none: other
 * algorithms are passed over (RFC 9530, 2). Throws `InputError` for one that cannot be read.
 */
export const sha256In = (field: string, given: string | undefined): string | undefined => {
  if (given === undefined || !/(?:^|,)[\t ]*sha-256\b/.test(given)) return undefined
  const digest = member.exec(given)?.[1]
  if (digest === undefined) throw new InputError([{ field, value: given, accepted }])
  return Buffer.from(digest, 'base64').toString('hex')
}

/** A SHA-256 in hex as the value of such a field. */
export const digestField = (sha256: string): string => `sha-256=:${Buffer.from(sha256, 'hex').toString('base64')}:`
