/** A limit as GCRA sees it. */
export type GcraLimit = {
  /** Between two requests at the steady rate. */
  readonly emissionMs: number
  /** How many may come at once after a pause; at least 1. */
  readonly burst: number
}

export type GcraVerdict = {
  readonly allowed: boolean
  /** To be kept until the next request. A refused request leaves it as it was. */
  readonly tatMs: number
  /** How many more are allowed now; 0 after a refusal. */
  readonly remaining: number
  /** When the next one will be allowed; 0 where this one was. */
  readonly retryAfterMs: number
  /** When the whole burst is allowed again. */
  readonly resetMs: number
}

/**
 * In requests: sums of fractions do not come out even, and so a request may come this much before its time. It is not
 * added up: the rate stays as it is.
 */
const tolerance = 0.01

/**
 * Decides about one request by the generic cell rate algorithm (ITU-T I.371, the virtual scheduling form). All that is
 * kept of a client is the theoretical arrival time (TAT): when its requests so far would end if they came at the steady
 * rate. Within any time span there are at most `burst + span / emissionMs` allowed, the tolerance aside.
 *
 * A TAT that lies further ahead than the algorithm can put it, after the clock or the limit was changed, counts as the
 * furthest possible, so that nobody waits for longer than a client that has used everything up.
 *
 * `tatMs`: what the last verdict said; anything in the past for a new client. The caller's clock may start anywhere.
 */
export const gcra = (tatMs: number, nowMs: number, limit: GcraLimit): GcraVerdict => {
  const { emissionMs, burst } = limit
  const aheadMs = Math.min(Math.max(tatMs - nowMs, 0), (burst + tolerance) * emissionMs)
  const allowed = aheadMs <= (burst - 1 + tolerance) * emissionMs
  return gcraVerdict(allowed, allowed ? aheadMs + emissionMs : aheadMs, nowMs, limit)
}

/** The verdict that leaves the TAT `aheadMs` from now. */
export const gcraVerdict = (
  allowed: boolean,
  aheadMs: number,
  nowMs: number,
  { emissionMs, burst }: GcraLimit,
): GcraVerdict => ({
  allowed,
  tatMs: nowMs + aheadMs,
  remaining: allowed ? Math.max(0, Math.floor(burst - aheadMs / emissionMs + tolerance)) : 0,
  retryAfterMs: allowed ? 0 : aheadMs - (burst - 1) * emissionMs,
  resetMs: aheadMs,
})

/**
 * The same decision in Lua, on the TAT in `KEYS[1]`, which expires when it is past. `ARGV`: emissionMs, burst. `now` is a
 * Lua expression, in ms. Returns whether the request is allowed, as 1 or 0, and how far the TAT then is ahead, in ms as
 * text: Lua's numbers lose their fraction on the way out. Seventeen digits carry a double over as it is.
 */
export const gcraLua = (now: string): string => `
local now = ${now}
local emission, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local tat = tonumber(redis.call('GET', KEYS[1]) or now)
local ahead = math.min(math.max(tat - now, 0), (burst + ${tolerance}) * emission)
if ahead > (burst - 1 + ${tolerance}) * emission then
  return { 0, string.format('%.17g', ahead) }
end
ahead = ahead + emission
redis.call('SET', KEYS[1], string.format('%.17g', now + ahead), 'PX', string.format('%.0f', math.ceil(ahead)))
return { 1, string.format('%.17g', ahead) }
`

/**
 * The server's clock: one for all replicas. Counted from 2026, for a double then keeps the fractions of a microsecond
 * that a high rate adds up.
 */
export const serverNowLua = `(function()
  local time = redis.call('TIME')
  return (time[1] - 1767225600) * 1000 + time[2] / 1000
end)()`
