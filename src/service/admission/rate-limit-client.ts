import type { IncomingMessage } from 'node:http'
import { isIP, type Socket } from 'node:net'

const network = Symbol('the network of the peer of this connection')

type KnownSocket = Socket & { [network]?: string }

/**
 * The address that a request counts for. With `trustedProxies` it is what the outermost of them wrote into
 * `X-Forwarded-For`: each adds the address it was called from at the end, so everything before the n-th from the right
 * is only what the client claims. A request with fewer entries has not come through all of them and, as one whose entry
 * is no address, counts for its connection.
 */
export const clientNetwork = (req: IncomingMessage, trustedProxies: number): string => {
  const forwarded = trustedProxies === 0 ? undefined : forwardedAddress(req.rawHeaders, trustedProxies)
  return forwarded === undefined ? peerNetwork(req.socket) : networkOf(forwarded)
}

const peerNetwork = (socket: KnownSocket): string => (socket[network] ??= networkOf(socket.remoteAddress ?? 'gone'))

/**
 * The network of a client by its address. IPv4: the address. IPv6: the /64, for a subscriber has at least that many
 * addresses to choose from. IPv4 in IPv6 (`::ffff:192.0.2.1`) is IPv4.
 */
export const networkOf = (address: string): string => {
  if (!address.includes(':')) return address
  const words = wordsOf(address)
  const isMapped = words[5] === 0xffff && words.slice(0, 5).every((word) => word === 0)
  if (isMapped) return [words[6]! >> 8, words[6]! & 255, words[7]! >> 8, words[7]! & 255].join('.')
  const prefix = words.slice(0, 4).map((word) => word.toString(16))
  return `${prefix.join(':')}::/64`
}

/** The eight words of an IPv6 address, in any of its notations. */
const wordsOf = (address: string): number[] => {
  const [head = '', tail] = address.split('%', 1)[0]!.split('::')
  const before = wordsIn(head)
  if (tail === undefined) return before
  const after = wordsIn(tail)
  return [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after]
}

const wordsIn = (text: string): number[] => (text === '' ? [] : text.split(':').flatMap(wordsOfPart))

const wordsOfPart = (part: string): number[] => {
  if (!part.includes('.')) return [Number.parseInt(part, 16)]
  const [a = 0, b = 0, c = 0, d = 0] = part.split('.').map(Number)
  return [a * 256 + b, c * 256 + d]
}

const forwardedAddress = (rawHeaders: readonly string[], trustedProxies: number): string | undefined => {
  const entry = nthFromRight(rawHeaders, trustedProxies)
  if (entry === undefined) return undefined
  const address = withoutPort(entry.trim())
  return isIP(address) === 0 ? undefined : address
}

/** Several fields of that name are one list: a proxy may add a field instead of an entry. */
const nthFromRight = (rawHeaders: readonly string[], n: number): string | undefined => {
  let seen = 0
  for (let i = rawHeaders.length - 2; i >= 0; i -= 2) {
    if (!isForwardedFor(rawHeaders[i]!)) continue
    const list = rawHeaders[i + 1]!
    for (let end = list.length; end >= 0;) {
      const comma = end === 0 ? -1 : list.lastIndexOf(',', end - 1)
      seen++
      if (seen === n) return list.slice(comma + 1, end)
      end = comma
    }
  }
  return undefined
}

const isForwardedFor = (name: string): boolean => name.length === 15 && name.toLowerCase() === 'x-forwarded-for'

/** `192.0.2.1:80`, `[2001:db8::1]:80` and `[2001:db8::1]` are written by some proxies. */
const withoutPort = (entry: string): string => {
  if (entry.startsWith('[')) return entry.slice(1, Math.max(1, entry.indexOf(']')))
  const colon = entry.indexOf(':')
  return colon !== -1 && colon === entry.lastIndexOf(':') ? entry.slice(0, colon) : entry
}
