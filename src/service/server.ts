import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Logger } from 'pino'
import type { ProblemCode } from '../contract/problems.ts'
import { Failure } from '../kit/errors.ts'
import { assemble, createApp } from './app.ts'
import { ServiceCache } from './service-cache.ts'
import type { Config } from './config.ts'
import { Database } from './db/database.ts'
import { deleteExpiredIdempotencyKeys } from './db/queries/delete-expired-idempotency-keys.ts'
import { Faults } from './faults/faults.ts'
import type { Api } from './http/api.ts'
import { answerUnreadable } from './http/problem.ts'
import type { LeanKoa } from './http/lean-koa.ts'
import { identify, type Identity } from './identity.ts'
import { type Health, probes } from './probes.ts'
import type { Clock } from '../kit/timers.ts'
import { cacheMetrics, databaseMetrics, threadMetrics, upstreamMetrics } from './telemetry/parts.ts'
import { StatementTelemetry } from './telemetry/statements.ts'
import { logFailures } from './telemetry/failure-log.ts'
import { Telemetry } from './telemetry/telemetry.ts'
import { createUploads, type Uploads } from './uploads/uploads.ts'
import { createUpstreams, type Upstreams } from './upstreams/upstreams.ts'
import { createThreads, type Threads } from './work/threads/pool.ts'
import { Valkey } from './valkey.ts'
import { wait } from './work/wait.ts'

export type ServiceDeps = {
  readonly config: Config
  /** Number of this worker; 1 where there is only one process. */
  readonly worker: number
  readonly log: Logger
  /** Lines that the log could not write so far; default: none. */
  readonly linesDropped?: () => number
  readonly clock: Clock
  readonly random: () => number
  /** Told of every change, and once the service listens. */
  readonly onHealth?: (health: Health) => void
  /** Default: none, until they are set. */
  readonly faults?: Faults
}

/** A service that listens. */
export type Service = {
  readonly identity: Identity
  readonly address: AddressInfo
  readonly health: () => Health
  readonly faults: Faults
  /** Undefined where it is off. */
  readonly telemetry: Telemetry | undefined
  /** Ends it in order: see {@link drain}. A second call waits for the first. */
  readonly drain: () => Promise<void>
}

/**
 * Starts the service: listens first, and becomes ready when its database answers. So that a replica is up as early as
 * possible, threads start with their first task.
 */
export const startService = async (deps: ServiceDeps): Promise<Service> => {
  const { config, log } = deps
  const identity = identify(config, deps.worker)
  const faults = deps.faults ?? new Faults(deps)
  const state = new Lifecycle(config.database !== undefined, faults, deps.onHealth)
  const telemetry = config.telemetry === undefined ? undefined : new Telemetry(config.telemetry, { ...deps, identity })
  const database = openDatabase(deps, state, telemetry)
  const valkey = makeValkey(deps)
  const cache = new ServiceCache({ ...deps, valkey })
  const threads = createThreads({
    ...config.threads,
    clock: deps.clock,
    onThreadError: (err) => log.error({ err }, 'a thread failed'),
  })
  const upstreams = createUpstreams(config.upstreams, {
    ...deps,
    deadlineHeader: config.deadline.header,
    ownOrigin: () => originOf(address),
  })
  const uploads = createUploads(config.uploads, {
    clock: deps.clock,
    onFailure: (err) => log.error({ err }, 'the storage of uploads failed'),
  })
  for (const collect of [cacheMetrics(cache), threadMetrics(threads), upstreamMetrics(upstreams)])
    telemetry?.add(collect)
  const app = createApp({ ...deps, identity, database, cache, threads, upstreams, uploads, valkey, faults, telemetry })
  logFailures(app, log)
  const server = httpServer(app, config)
  const address = await listen(server, { ...config.http, shared: config.workers > 1 })
  log.info({ ...address, worker: identity.worker }, 'listening')
  state.listening()
  // Who waits for the port already is served first; the driver takes some milliseconds to load.
  setImmediate(() => {
    void database?.open()
    void valkey?.open()
    void cache.open()
    void telemetry?.open()
  })
  const chores = startChores(database, log)
  const parts = {
    app,
    server,
    database,
    cache,
    valkey,
    threads,
    upstreams,
    uploads,
    state,
    faults,
    chores,
    telemetry,
    deps,
  }
  return { identity, address, health: () => state.health(), faults, telemetry, drain: once(() => drain(parts)) }
}

/** Serves the probes and `more` on the admin port, for one process or for several workers behind it. */
export const startAdmin = async (
  config: Config,
  health: () => Health,
  log: Logger,
  more: readonly ((api: Api) => void)[] = [],
): Promise<Server> => {
  const app = assemble({ headers: ['Server', 'plimsoll'] }, [probes, ...more], health)
  logFailures(app, log)
  const server = httpServer(app, config)
  const address = await listen(server, config.admin)
  log.info(address, 'admin listening')
  return server
}

/** Stops a server at once that has nothing to finish. */
export const closeNow = (server: Server): Promise<void> => {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeAllConnections()
  return closed
}

type Parts = {
  readonly app: LeanKoa
  readonly server: Server
  readonly database: Database | undefined
  readonly cache: ServiceCache
  readonly valkey: Valkey | undefined
  readonly threads: Threads
  readonly upstreams: Upstreams
  readonly uploads: Uploads
  readonly state: Lifecycle
  readonly faults: Faults
  readonly chores: NodeJS.Timeout
  readonly telemetry: Telemetry | undefined
  readonly deps: ServiceDeps
}

/**
 * Ends a service without an error for anyone who still talks to it:
 *
 * 1. not ready, and `Connection: close` on every answer, while it goes on listening for the drain delay: load balancers
 *    learn of a pod that goes only after some seconds;
 * 2. no new connections, idle ones closed, what is in flight finished, at most until the drain timeout;
 * 3. uploads that were cut, connections to upstreams, threads, the cache, then the database and Valkey: what requests use
 *    goes after the requests;
 * 4. telemetry, which tells of all that.
 */
const drain = async (parts: Parts): Promise<void> => {
  const { app, server, database, cache, valkey, threads, upstreams, uploads, state, faults, chores } = parts
  const { telemetry, deps } = parts
  const { config, log, clock } = deps
  log.info(config.drain, 'draining')
  state.draining()
  clearInterval(chores)
  app.standardHeaders = [...app.standardHeaders, 'Connection', 'close']
  await wait(config.drain.delayMs, undefined, clock)
  const deadline = clock.now() + config.drain.timeoutMs
  const left = (): number => Math.max(0, deadline - clock.now())
  await finishRequests(server, left(), deps)
  // A storage that does not answer may keep them from cleaning up for minutes.
  await atMost(Math.max(left(), cleaningUpMs), uploads[Symbol.asyncDispose](), clock)
  await upstreams[Symbol.asyncDispose]()
  faults.end()
  await threads.close({ timeoutMs: left() })
  await cache[Symbol.asyncDispose]()
  // It ends also when the database does not answer: after the time that its longest statement may take.
  await database?.[Symbol.asyncDispose]()
  await valkey?.[Symbol.asyncDispose]()
  await telemetry?.[Symbol.asyncDispose]()
  log.info('drained')
}

const atMost = async (ms: number, work: Promise<void>, clock: Clock): Promise<void> => {
  const done = new AbortController()
  await Promise.race([work, wait(ms, done.signal, clock)])
  done.abort()
}

/** What uploads that were cut have to remove what they had stored, at least. */
const cleaningUpMs = 1_000

const finishRequests = async (server: Server, timeoutMs: number, { clock, log }: ServiceDeps): Promise<void> => {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeIdleConnections()
  const timer = clock.setTimeout(() => {
    log.warn('the drain timeout is over: cutting the connections that are left')
    server.closeAllConnections()
  }, timeoutMs)
  await closed
  clock.clearTimeout(timer as never)
}

/**
 * From start to end: starting, ready, draining. `started` is set once and for all when the service first is ready; the
 * database counts for readiness until then only. When it goes down later, taking every replica out of the load balancer
 * would turn failing requests into no answers at all, also for those that need no database.
 */
class Lifecycle {
  #phase: 'starting' | 'serving' | 'draining' = 'starting'
  #started = false
  #database: string
  /** Nothing is waited for any more; true from the start without a database. */
  #reached: boolean
  readonly #faults: Faults
  readonly #onChange: (health: Health) => void

  constructor(hasDatabase: boolean, faults: Faults, onChange: (health: Health) => void = () => {}) {
    this.#faults = faults
    faults.onChange = () => this.#changed()
    this.#database = hasDatabase ? 'connecting' : 'none configured'
    this.#reached = !hasDatabase
    this.#onChange = onChange
  }

  health(): Health {
    const { unready } = this.#faults
    const ready = this.#started && this.#phase === 'serving' && !unready
    const checks = { server: this.#phase, database: this.#database, ...(unready && { faults: 'not ready, as asked' }) }
    return { started: this.#started, ready, checks }
  }

  listening(): void {
    this.#phase = 'serving'
    this.#changed()
  }

  draining(): void {
    this.#phase = 'draining'
    this.#changed()
  }

  database(reachable: boolean, why?: Error): void {
    this.#reached ||= reachable
    this.#database = reachable ? 'reachable' : `unreachable${why === undefined ? '' : `: ${why.message}`}`
    this.#changed()
  }

  #changed(): void {
    this.#started ||= this.#phase === 'serving' && this.#reached
    this.#onChange(this.health())
  }
}

const openDatabase = (
  { config, log, clock }: ServiceDeps,
  state: Lifecycle,
  telemetry: Telemetry | undefined,
): Database | undefined => {
  if (config.database === undefined) return undefined
  const { url } = config.database
  const observer = telemetry === undefined ? undefined : new StatementTelemetry({ url, clock })
  const database = new Database({
    ...config.database,
    applicationName: `plimsoll ${config.instance}`,
    observer,
    onEvent: (event, why) => {
      if (event === 'idle-error') return log.warn({ err: why }, 'an idle database connection failed')
      if (event === 'reachable') log.info('database reachable')
      else log.error({ err: why }, 'database unreachable')
      state.database(event === 'reachable', why)
    },
  })
  if (observer !== undefined) telemetry?.add(databaseMetrics(database, observer))
  return database
}

/** What a script on Valkey may take before requests go on without it. */
const valkeyTimeoutMs = 100

const makeValkey = ({ config: { cache }, log, random }: ServiceDeps): Valkey | undefined => {
  if (cache.url === undefined) return undefined
  return new Valkey({
    url: cache.url,
    commandTimeoutMs: valkeyTimeoutMs,
    random,
    onEvent: (event, why) =>
      event === 'reachable' ? log.info('valkey reachable') : log.error({ err: why }, 'valkey unreachable'),
  })
}

const choreIntervalMs = 10 * 60_000
const choreBatch = 1_000

/** What must be done now and then, by any replica. */
const startChores = (database: Database | undefined, log: Logger): NodeJS.Timeout =>
  setInterval(() => {
    if (database?.reachable !== true) return
    database
      .run(deleteExpiredIdempotencyKeys, [choreBatch])
      .catch((err: unknown) => log.warn({ err }, 'expired idempotency keys were not deleted'))
  }, choreIntervalMs).unref()

const httpServer = (app: LeanKoa, { http }: Config): Server => {
  const server = createServer(
    {
      keepAliveTimeout: http.keepAliveTimeoutMs,
      // Of heads only: an upload takes as long as it takes. The application bounds bodies, see `bodyTimeoutMs`.
      requestTimeout: 0,
      headersTimeout: http.requestTimeoutMs,
      // Node looks for requests that are overdue only so often; its own interval is 30 s.
      connectionsCheckingInterval: Math.min(30_000, Math.ceil(http.requestTimeoutMs / 4)),
      noDelay: true,
    },
    app.callback(),
  )
  app.bodyTimeoutMs = http.requestTimeoutMs
  server.on('clientError', answerUnreadable(app))
  server.on('checkExpectation', (req: IncomingMessage, res: ServerResponse) => {
    const ctx = app.createContext(req, res) as unknown as Parameters<LeanKoa['handleRequest']>[0]
    return app.handleRequest(ctx, () => Promise.reject(new Failure<ProblemCode>('expectation-failed')))
  })
  return server
}

type ListenAt = { readonly host: string; readonly port: number; readonly shared?: boolean }

// Only Linux spreads connections over the sockets that share a port; elsewhere the parent hands them to its workers.
const canSharePort = process.platform === 'linux'

const listen = async (server: Server, { host, port, shared = false }: ListenAt): Promise<AddressInfo> => {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, backlog: 4_096, reusePort: shared && canSharePort }, resolve)
  })
  return server.address() as AddressInfo
}

/** Where this process reaches its own service: one that listens on all addresses listens on the loopback one. */
const originOf = ({ address, port }: AddressInfo): string => {
  const host = address.replace(/^0\.0\.0\.0$/, '127.0.0.1').replace(/^::$/, '::1')
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** A port that is free now, where any will do. */
export const freePort = async (host: string): Promise<number> => {
  const server = createServer()
  const { port } = await listen(server, { host, port: 0 })
  await closeNow(server)
  return port
}

const once = <Result>(act: () => Promise<Result>): (() => Promise<Result>) => {
  let acted: Promise<Result> | undefined
  return () => (acted ??= act())
}
