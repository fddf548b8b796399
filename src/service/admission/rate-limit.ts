import { errorTypeOf } from '../../kit/errors.ts'
import type { Clock } from '../../kit/timers.ts'
import type { ServiceContext, ServiceMiddleware } from '../http/lean-koa.ts'
import { problemReply } from '../http/problem.ts'
import { recordedSpan } from '../http/recorded-span.ts'
import { rawHeader } from '../http/raw-header.ts'
import type { Valkey } from '../valkey.ts'
import type { GcraLimit, GcraVerdict } from './gcra.ts'
import { clientNetwork } from './rate-limit-client.ts'
import { MemoryBuckets } from './rate-limit-memory.ts'
import { SharedBuckets } from './rate-limit-valkey.ts'

export type RateLimitConfig = {
  /** How many requests a client may send in a window, and how long that is. */
  readonly requests: number
  readonly windowSeconds: number
  /** How many of them may come at once after a pause; more than `requests` is possible. */
  readonly burst: number
  /** Names of the owners of API keys, by key. Each owner has a limit of its own; all others have one by address. */
  readonly keys: ReadonlyMap<string, string>
  /** The header with the key, in lower case. */
  readonly keyHeader: string
  /** What happens to requests while Valkey cannot be asked: they pass, or they are answered 503. */
  readonly onLoss: 'open' | 'closed'
  /** How many proxies in front add an entry to `X-Forwarded-For`. */
  readonly trustedProxies: number
}

export type RateLimitParts = {
  readonly clock: Clock
  /** Where replicas share the limit; undefined: each has its own. */
  readonly valkey: Valkey | undefined
  /** Told of the first request that could not be counted, and of the next one that could. */
  readonly onEvent?: (event: 'uncounted' | 'counted', why?: unknown) => void
}

/** Requests since the start, and clients that are remembered in memory. */
export type RateLimitStats = {
  readonly allowed: number
  readonly refused: number
  /** Could not be counted, and passed or were answered 503 as configured. */
  readonly uncounted: number
  readonly clients: number
}

export type RateLimit = {
  readonly middleware: ServiceMiddleware
  readonly stats: () => RateLimitStats
}

/** Makes the rate limit of one application; undefined where none is configured. */
export const createRateLimit = (config: RateLimitConfig | undefined, parts: RateLimitParts): RateLimit | undefined => {
  if (config === undefined) return undefined
  const turnstile = new Turnstile(config, parts)
  return { middleware: (ctx, next) => turnstile.enter(ctx, next), stats: () => turnstile.stats() }
}

type Next = () => Promise<unknown>

/** More than these are not told apart in memory at once; some 20 MB. */
const maxClients = 100_000

/** Lets each client through as often as its limit says, and tells it so in every answer. */
class Turnstile {
  readonly #config: RateLimitConfig
  readonly #parts: RateLimitParts
  readonly #byKey: Policy
  readonly #byAddress: Policy
  readonly #memory: MemoryBuckets
  readonly #shared: SharedBuckets | undefined
  readonly #refuseUncounted = problemReply('rate-limit-unavailable', 'requests cannot be counted at the moment')
  #allowed = 0
  #refused = 0
  #uncounted = 0
  #counts = true

  constructor(config: RateLimitConfig, parts: RateLimitParts) {
    const { requests, windowSeconds, burst } = config
    const limit: GcraLimit = { emissionMs: (windowSeconds * 1_000) / requests, burst }
    this.#config = config
    this.#parts = parts
    this.#byKey = new Policy('key', config)
    this.#byAddress = new Policy('address', config)
    this.#memory = new MemoryBuckets(limit, maxClients)
    this.#shared = parts.valkey === undefined ? undefined : new SharedBuckets(parts.valkey, limit)
  }

  /** The middleware. In memory it is synchronous: no promise of its own. */
  enter(ctx: ServiceContext, next: Next): Promise<unknown> | void {
    const owner = this.#owner(ctx)
    const policy = owner === undefined ? this.#byAddress : this.#byKey
    const client = owner ?? clientNetwork(ctx.req, this.#config.trustedProxies)
    if (this.#shared !== undefined)
      return this.#enterShared(ctx, next, this.#shared, policy, `${policy.name}:${client}`)
    // No address has a space.
    const name = owner === undefined ? client : `key ${owner}`
    if (ctx.begunAtMs === 0) ctx.begunAtMs = this.#parts.clock.now()
    return this.#judge(ctx, next, policy, this.#memory.take(name, ctx.begunAtMs))
  }

  stats(): RateLimitStats {
    const counts = { allowed: this.#allowed, refused: this.#refused, uncounted: this.#uncounted }
    return { ...counts, clients: this.#memory.size }
  }

  /** Undefined without a known key: an unknown one must not help, or anyone could make up one for each request. */
  #owner({ req }: ServiceContext): string | undefined {
    const { keys, keyHeader } = this.#config
    if (keys.size === 0) return undefined
    const key = rawHeader(req, keyHeader)
    return key === undefined ? undefined : keys.get(key)
  }

  #judge(ctx: ServiceContext, next: Next, policy: Policy, verdict: GcraVerdict): Promise<unknown> | void {
    if (verdict.allowed) {
      this.#allowed++
      ctx.extraHeaders = policy.headers(verdict.remaining, wholeSeconds(verdict.resetMs))
      return next()
    }
    this.#refused++
    const seconds = wholeSeconds(verdict.retryAfterMs)
    ctx.extraHeaders = policy.headers(0, seconds)
    policy.refuse(ctx, seconds)
  }

  async #enterShared(
    ctx: ServiceContext,
    next: Next,
    buckets: SharedBuckets,
    policy: Policy,
    client: string,
  ): Promise<unknown> {
    const span = recordedSpan(ctx)?.child('rate limit', 'client').set('db.system.name', 'redis')
    let verdict: GcraVerdict
    try {
      verdict = await buckets.take(client)
      span?.set('plimsoll.decision', verdict.allowed ? 'allowed' : 'refused').end()
      // What follows begins now: to wait for Valkey is no sign of a load that is too high.
      ctx.begunAtMs = 0
    } catch (why) {
      span?.set('plimsoll.decision', 'uncounted').end(errorTypeOf(why))
      ctx.begunAtMs = 0
      return this.#passUncounted(ctx, next, why)
    }
    if (!this.#counts) this.#tell(true)
    return this.#judge(ctx, next, policy, verdict)
  }

  #passUncounted(ctx: ServiceContext, next: Next, why: unknown): Promise<unknown> | void {
    if (this.#counts) this.#tell(false, why)
    this.#uncounted++
    if (this.#config.onLoss === 'open') return next()
    this.#refuseUncounted(ctx, 1)
  }

  #tell(counts: boolean, why?: unknown): void {
    this.#counts = counts
    this.#parts.onEvent?.(counts ? 'counted' : 'uncounted', why)
  }
}

const wholeSeconds = (ms: number): number => Math.max(1, Math.ceil(ms / 1_000))

/** Answers of up to this many remaining requests are kept ready. */
const mostReady = 1_024

type Ready = { readonly seconds: number; readonly headers: readonly string[] }

/**
 * What clients of one kind are told, in the fields of draft-ietf-httpapi-ratelimit-headers-10: the quota `q` in a window
 * of `w` seconds, how many requests remain (`r`), and in how many seconds (`t`) the whole quota is there again or, for
 * one who is refused, the next request, as in `Retry-After`.
 */
class Policy {
  readonly name: string
  readonly refuse: ReturnType<typeof problemReply>
  readonly #field: string
  /** By what remains: of clients that keep at it, one answer is mostly like the one before. */
  readonly #ready: (Ready | undefined)[] = []

  constructor(name: 'key' | 'address', { requests, windowSeconds, burst }: RateLimitConfig) {
    this.name = name
    const extra = burst === requests ? '' : `;plimsoll-burst=${burst}`
    this.#field = `"${name}";q=${requests};w=${windowSeconds}${extra}`
    const within = windowSeconds === 1 ? 'a second' : `${windowSeconds} s`
    this.refuse = problemReply('rate-limited', `the limit for each ${name} is ${requests} requests in ${within}`)
  }

  /** The fields, as a flat list. */
  headers(remaining: number, seconds: number): readonly string[] {
    const ready = this.#ready[remaining]
    if (ready?.seconds === seconds) return ready.headers
    const headers = ['RateLimit-Policy', this.#field, 'RateLimit', `"${this.name}";r=${remaining};t=${seconds}`]
    if (remaining < mostReady) this.#ready[remaining] = { seconds, headers }
    return headers
  }
}
