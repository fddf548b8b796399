import type { Fields } from './transport.ts'

const firstMs = 25
const longestMs = 1_000

/**
 * How long to wait before the n-th retry (from 1), in ms: uniform between 0 and a bound that doubles each time, from
 * 25 ms to 1 s. "Full jitter" of M. Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015: requests that
 * failed together do not come back together.
 */
export const backoffMs = (retry: number, random: () => number): number =>
  random() * Math.min(longestMs, firstMs * 2 ** (retry - 1))

/**
 * How long an answer asks to wait, in ms; 0 where it does not (RFC 9110, 10.2.3). A date counts from the answer's own
 * `Date`: the clocks of two machines differ.
 */
export const retryAfterMs = ({ 'retry-after': after, date }: Fields): number => {
  if (typeof after !== 'string') return 0
  if (/^\d{1,9}$/.test(after)) return Number(after) * 1_000
  const ms = Date.parse(after) - Date.parse(String(date))
  return ms > 0 ? ms : 0
}
