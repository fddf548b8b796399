import type { IncomingMessage } from 'node:http'

/**
 * The first value of a request header, by its name in lower case. `req.headers` makes an object of all of them when it
 * is first touched, which is more than many a request otherwise costs; this looks at the list as it came.
 */
export const rawHeader = ({ rawHeaders }: IncomingMessage, name: string): string | undefined => {
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const given = rawHeaders[i]!
    if (given.length === name.length && (given === name || given.toLowerCase() === name)) return rawHeaders[i + 1]
  }
  return undefined
}
