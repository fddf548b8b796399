import type { Lookup, Source } from './cache.ts'

/**
 * The value of the `Cache-Status` response header (RFC 9211). A stale value that is served while it is renewed is a hit
 * whose `ttl`, in seconds, is negative: the request itself went no further.
 */
export const cacheStatus = ({ source, freshMs }: Pick<Lookup<unknown>, 'source' | 'freshMs'>): string =>
  source === 'hit' ? `plimsoll; hit; ttl=${Math.floor(freshMs / 1_000)}` : statuses[source]

const statuses: Readonly<Record<Exclude<Source, 'hit'>, string>> = {
  miss: 'plimsoll; fwd=miss',
  collapsed: 'plimsoll; fwd=miss; collapsed',
  partial: 'plimsoll; fwd=partial',
  bypass: 'plimsoll; fwd=bypass',
}
