/** A fleet of which every part is in use, with all that watches it: real processes, PostgreSQL, Redis, Prometheus. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { migrate } from '../../src/service/db/migrate.ts'
import { serve, type Serving } from './cli.ts'
import { type Collector, startCollector } from './collector.ts'
import { listen } from './http.ts'
import { freshDatabase, makeTestFolder } from './postgres.ts'
import { type Prometheus, startPrometheus } from './prometheus.ts'
import { startValkey, withoutRedis } from './valkey.ts'

export type ObservedFleet = AsyncDisposable & {
  readonly prometheus: Prometheus
  readonly collector: Collector
  /** One process; its upstreams are the next one, and a port that nobody listens on. */
  readonly alone: Serving
  /** Two workers, and little room: it refuses, times out and runs out of connections and threads. */
  readonly narrow: Serving
  /** Scraped by two jobs, `counted` each second and `counted-5s` every five; only the test itself sends to it. */
  readonly counted: Serving
  /** Whether there is a Redis. */
  readonly hasCache: boolean
}

export const adminToken = 'token-of-the-observed-fleet'

/** Starts all; nothing is asked of the fleet yet but by a load run of 20 requests per second. `rules` as files. */
export const startObservedFleet = async (rules: Readonly<Record<string, string>>): Promise<ObservedFleet> => {
  await using parts = new AsyncDisposableStack()
  const [collector, valkey, database, uploads] = await Promise.all([
    startCollector(),
    withoutRedis ? undefined : startValkey(),
    migratedDatabase(),
    makeTestFolder(),
  ])
  parts.use(collector)
  parts.use(valkey)
  const env = {
    DATABASE_URL: database,
    ...(valkey && { CACHE_URL: valkey.url }),
    UPLOADS: uploads,
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_TRACES_SAMPLER_ARG: '1',
    RATE_LIMIT: '100000/s',
    ADMIN_TOKEN: adminToken,
  }
  const [narrow, counted] = await Promise.all([
    serve(['--workers', '2', '--instance', 'narrow'], { ...env, ...littleRoom }),
    serve(['--instance', 'counted'], { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_TRACES_SAMPLER_ARG: '1' }),
  ])
  parts.use(narrow)
  parts.use(counted)
  const upstreams = `peer=${narrow.url}/work/mix?wait=5&queries=1,missing=${narrow.url}/nowhere,gone=http://127.0.0.1:1/`
  const alone = parts.use(await serve(['--instance', 'alone'], { ...env, UPSTREAMS: upstreams }))
  const load = parts.use(await startLoad(alone.url))
  const kubernetes = parts.use(await serveKubernetes())
  const prometheus = await startPrometheus({
    jobs: [
      { job: 'plimsoll', targets: [hostOf(alone.adminUrl), hostOf(narrow.adminUrl)] },
      { job: 'counted', targets: [hostOf(counted.adminUrl)] },
      { job: 'counted-5s', targets: [hostOf(counted.adminUrl)], everySeconds: 5 },
      { job: 'plimsoll-load', targets: [hostOf(load.url)] },
      { job: 'kube-state-metrics', targets: [`127.0.0.1:${kubernetes.port}`] },
    ],
    rules,
  })
  parts.use(prometheus)
  const running = parts.move()
  const dispose = (): Promise<void> => running.disposeAsync()
  const hasCache = valkey !== undefined
  return { prometheus, collector, alone, narrow, counted, hasCache, [Symbol.asyncDispose]: dispose }
}

const littleRoom = {
  MAX_IN_FLIGHT: '20',
  QUEUE_LENGTH: '10',
  QUEUE_TIMEOUT_MS: '150',
  THREADS: '1',
  THREAD_QUEUE: '3',
  DATABASE_POOL: '2',
  DATABASE_ACQUIRE_TIMEOUT_MS: '150',
  DATABASE_STATEMENT_TIMEOUT_MS: '300',
}

const migratedDatabase = async (): Promise<string> => {
  const url = await freshDatabase()
  await migrate(url)
  return url
}

const hostOf = (url: string): string => new URL(url).host

/** What kube-state-metrics would say of the fleet in a cluster. */
const serveKubernetes = async (): ReturnType<typeof listen> => {
  const text = await readFile(new URL('../fixtures/kube-state-metrics.txt', import.meta.url))
  return listen((_, res) => void res.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(text))
}

const entry = fileURLToPath(new URL('../../src/main.ts', import.meta.url))

type LoadRun = AsyncDisposable & { readonly process: ChildProcess; readonly url: string }

/** `plimsoll load --metrics-port`, for longer than any test takes. */
const startLoad = async (target: string): Promise<LoadRun> => {
  const flags = ['--rate', '20', '--for', '10m', '--arrivals', 'poisson', '--metrics-port', '0']
  const args = [entry, 'load', `${target}/json`, ...flags]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  const stop = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  for await (const line of createInterface(child.stderr)) {
    const url = /^Metrics at (\S+)/.exec(line)?.[1]
    if (url === undefined) continue
    child.stderr.resume()
    return { process: child, url, [Symbol.asyncDispose]: stop }
  }
  throw new Error(`plimsoll load ended with ${child.exitCode} before it showed its metrics`)
}
