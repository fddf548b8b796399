import type { ProblemCode } from '../../contract/problems.ts'
import type { Cancellation } from '../../kit/cancellation.ts'
import { Failure, InputError } from '../../kit/errors.ts'
import type { Clock } from '../../kit/timers.ts'
import { toMicrosecond } from '../../kit/units.ts'
import { Breaker, type BreakerState } from './breaker.ts'
import { UpstreamMeter } from './meter.ts'
import { RetryBudget } from './retry-budget.ts'
import { SourceCall, type SourceResult, type Terms, type Upstream } from './source-call.ts'
import { type Target, targetOf, type Transport } from './transport.ts'

export type UpstreamsOptions = {
  /** Name to URL. Undefined: the service's own wait endpoints. */
  readonly urls: Readonly<Record<string, string>> | undefined
  /** How long an upstream is waited for, all attempts together. */
  readonly timeoutMs: number
  /** At most, hedged ones included. */
  readonly attempts: number
  /** Attempts beyond the first, as a share of the requests: 0 to 1. */
  readonly retryBudget: number
  /** When a second attempt is made beside one that has not been answered; 0: never. */
  readonly hedgeAfterMs: number
  /** To one upstream. A call that finds all of them in use is refused: one that waited would come too late. */
  readonly connections: number
  /** Attempts that must fail in a row to open an upstream's circuit. */
  readonly breakerFailures: number
  /** How long it then stays open. */
  readonly breakerOpenMs: number
}

export type UpstreamsDeps = {
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** The header that tells an upstream how many ms it has. */
  readonly deadlineHeader: string
  /** Where this service listens. Asked when it is first needed, which is after it listens. */
  readonly ownOrigin: () => string
  /** Default: HTTP, loaded at the first use. */
  readonly openTransport?: (options: UpstreamsOptions) => Promise<Transport>
}

/** The wish to stop, and what is left of the request's time. */
export type Bounds = Cancellation & { readonly remainingMs: number }

/** What several upstreams had to say; at least one said something. */
export type Aggregate = {
  /** All of them did. */
  readonly complete: boolean
  readonly tookMs: number
  /** In the order asked for. */
  readonly sources: readonly SourceResult[]
}

/** What happened to one upstream since the process started. */
export type UpstreamStats = Readonly<Upstream['counts']> & {
  readonly name: string
  readonly breaker: BreakerState
  readonly meter: UpstreamMeter
}

/** The upstreams of this process, each with a breaker and a budget of its own. */
export type Upstreams = AsyncDisposable & {
  /** In the order configured. */
  readonly names: readonly string[]
  /**
   * Calls the named upstreams at once and waits for the last, at most for `timeoutMs` or until shortly before the
   * deadline. Rejects with the reason of `bounds` as soon as they abort, and then nothing is left running. Throws
   * `upstreams-failed` when none succeeded, or `deadline-exceeded` where the deadline left them too little time.
   * `requestId` is passed on, and so is `context`, a flat list of headers, unless the attempts are recorded and thereby
   * have a context of their own.
   */
  aggregate(
    names: readonly string[],
    bounds: Bounds,
    requestId?: string,
    context?: readonly string[],
  ): Promise<Aggregate>
  stats(): readonly UpstreamStats[]
}

/** Upstreams of a service that is told none: itself, being slow. */
const ownPaths = {
  weather: '/work/wait?ms=200',
  stocks: '/work/wait?ms=300',
  news: '/work/wait?ms=100',
}

/** An answer can hold a body of each. */
const mostUpstreams = 32

/** Makes the upstreams; connects to none. Throws `InputError` where there are too many, or a URL cannot be read. */
export const createUpstreams = (options: UpstreamsOptions, deps: UpstreamsDeps): Upstreams => {
  const upstreams = new Map(targets(options, deps).map(([name, target]) => [name, upstream(name, target, options)]))
  let opened: Promise<Transport> | undefined
  const open = (): Promise<Transport> => (opened ??= (deps.openTransport ?? openHttp)(options))
  return {
    names: [...upstreams.keys()],
    aggregate: async (names, bounds, requestId, context = []) => {
      const startMs = deps.clock.now()
      const transport = await open()
      bounds.throwIfAborted()
      const terms = termsOf(options, deps, { transport, bounds, requestId, context })
      const sources = await callAll(
        names.map((name) => new SourceCall(upstreams.get(name)!, terms)),
        bounds,
      )
      requireOne(sources, terms)
      const complete = sources.every(({ status }) => status === 'ok')
      return { complete, tookMs: toMicrosecond(deps.clock.now() - startMs), sources }
    },
    stats: () =>
      [...upstreams.values()].map(({ name, counts, breaker, meter }) => ({
        name,
        ...counts,
        breaker: breaker.state,
        meter,
      })),
    [Symbol.asyncDispose]: async () => (await opened)?.close(),
  }
}

const targets = ({ urls }: UpstreamsOptions, { ownOrigin }: UpstreamsDeps): [name: string, target: () => Target][] => {
  if (urls === undefined)
    return Object.entries(ownPaths).map(([name, path]) => [name, () => targetOf(ownOrigin() + path)])
  const given = Object.entries(urls)
  if (given.length > mostUpstreams) throw mistake(`(${given.length} upstreams)`, `at most ${mostUpstreams}`)
  return given.map(([name, url]) => {
    const target = configuredTarget(name, url)
    return [name, () => target]
  })
}

const configuredTarget = (name: string, url: string): Target => {
  try {
    return targetOf(url)
  } catch {
    // The URL may hold a password.
    throw mistake(`${name}=(hidden)`, 'name=http://host:port/path with a valid URL')
  }
}

const mistake = (value: string, accepted: string): InputError =>
  new InputError([{ field: 'UPSTREAMS', value, accepted }])

const upstream = (name: string, target: () => Target, options: UpstreamsOptions): Upstream => ({
  name,
  target,
  breaker: new Breaker({ failures: options.breakerFailures, openMs: options.breakerOpenMs }),
  budget: new RetryBudget(options.retryBudget),
  connections: options.connections,
  underWay: 0,
  counts: { calls: 0, attempts: 0, retries: 0, hedges: 0 },
  meter: new UpstreamMeter(),
})

const openHttp = async ({ timeoutMs }: UpstreamsOptions): Promise<Transport> => {
  const { httpTransport } = await import('./http.ts')
  return httpTransport(timeoutMs)
}

/** So much of the time that is left is kept for answering with what has come, but no more than 10 ms. */
const answeringShare = 0.1
const answeringMs = 10

type Asked = {
  readonly transport: Transport
  readonly bounds: Bounds
  readonly requestId: string | undefined
  readonly context: readonly string[]
}

const termsOf = (options: UpstreamsOptions, deps: UpstreamsDeps, asked: Asked): Terms => {
  const { transport, bounds, requestId, context } = asked
  const { timeoutMs, attempts, hedgeAfterMs } = options
  const { clock, random, deadlineHeader } = deps
  const { remainingMs } = bounds
  const leftMs = Math.max(0, remainingMs - Math.min(answeringMs, remainingMs * answeringShare))
  return {
    transport,
    clock,
    random,
    attempts,
    hedgeAfterMs,
    allowedMs: Math.min(timeoutMs, leftMs),
    hurried: leftMs < timeoutMs,
    deadlineHeader,
    headers: [...ownHeaders, ...(requestId === undefined ? [] : ['x-request-id', requestId])],
    span: bounds.span,
    context,
  }
}

const ownHeaders = ['accept', 'application/json', 'accept-encoding', 'identity', 'user-agent', 'plimsoll']

/** Runs the calls, or abandons them all as soon as nobody waits for them any more. */
const callAll = async (calls: readonly SourceCall[], bounds: Bounds): Promise<SourceResult[]> => {
  const gone = Promise.withResolvers<never>()
  const abandon = (): void => {
    for (const call of calls) call.abandon()
    gone.reject(bounds.reason)
  }
  bounds.addEventListener('abort', abandon)
  try {
    return await Promise.race([gone.promise, Promise.all(calls.map((call) => call.run()))])
  } finally {
    bounds.removeEventListener('abort', abandon)
  }
}

const requireOne = (sources: readonly SourceResult[], { hurried }: Terms): void => {
  if (sources.some(({ status }) => status === 'ok')) return
  const failed = sources.filter((source) => source.status !== 'ok')
  const detail = failed.map(({ name, status, detail }) => `${name}: ${status} (${detail})`).join('; ')
  const late = hurried && failed.some(({ status }) => status === 'timeout')
  throw new Failure<ProblemCode>(late ? 'deadline-exceeded' : 'upstreams-failed', { detail })
}
