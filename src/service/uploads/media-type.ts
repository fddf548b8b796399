import { InputError } from '../../kit/errors.ts'

const shape = /^[\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+[\t ]*(?:;[\t\x20-\x7e]*)?$/
const longest = 255

/** Whether a client's text can be sent back as a `Content-Type` (RFC 9110, 8.3.1). */
export const isMediaType = (given: string): boolean => given.length <= longest && shape.test(given)

/** What one that is none is refused with. */
export const noMediaType = (given: string): InputError =>
  new InputError([{ field: 'Content-Type', value: given, accepted: `a media type of at most ${longest} characters` }])
