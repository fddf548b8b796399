/** A Prometheus of a test's own: the real server, on a free port of 127.0.0.1, with its data in a folder that goes. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parse, stringify } from 'yaml'
import { hasProgram, requirement } from './requirement.ts'
import { until } from './until.ts'

/** For the `skip` option of tests that need it. */
export const withoutPrometheus = requirement('prometheus', hasProgram('prometheus'))

/** Targets under one name, each as `host:port`, scraped at `/metrics`. */
export type ScrapeJob = {
  readonly job: string
  readonly targets: readonly string[]
  /** Whole seconds between scrapes; default 1. */
  readonly everySeconds?: number
}

export type PrometheusOptions = {
  readonly jobs: readonly ScrapeJob[]
  /** Rule files as they would be loaded: names and YAML. They are evaluated each second, whatever their groups say. */
  readonly rules?: Readonly<Record<string, string>>
}

export type Labels = Readonly<Record<string, string>>

/** One line of an instant query; a scalar has no labels. */
export type Vector = readonly { readonly labels: Labels; readonly value: number }[]

/** One line of a range query. */
export type Matrix = readonly {
  readonly labels: Labels
  readonly points: readonly { readonly atSeconds: number; readonly value: number }[]
}[]

export type ExemplarSeries = {
  readonly labels: Labels
  readonly exemplars: readonly { readonly labels: Labels; readonly value: number; readonly atSeconds: number }[]
}

export type Target = {
  readonly job: string
  readonly url: string
  readonly up: boolean
  /** Why the last scrape failed; empty where it did not. */
  readonly lastError: string
  readonly lastScrapeSeconds: number
}

export type Rule = {
  readonly name: string
  readonly type: 'alerting' | 'recording'
  readonly health: string
  readonly lastError?: string
}

export type Prometheus = AsyncDisposable & {
  readonly url: string
  /** What it logged so far, a line each. */
  readonly log: readonly string[]
  /** The value of an expression, now unless told otherwise. Rejects with Prometheus' own words where it has none. */
  query(expression: string, atSeconds?: number): Promise<Vector>
  queryRange(expression: string, range: { fromSeconds: number; toSeconds: number; step: number }): Promise<Matrix>
  /** The exemplars of an expression's series in the last minutes. */
  exemplars(expression: string, lastSeconds?: number): Promise<readonly ExemplarSeries[]>
  targets(): Promise<readonly Target[]>
  /** Rules as they were last evaluated. */
  rules(): Promise<readonly Rule[]>
  /** Waits until every target has been scraped after this call; fails after `timeoutMs`, 15 s. */
  scraped(timeoutMs?: number): Promise<void>
}

/** Starts one; resolves when it answers. */
export const startPrometheus = async (options: PrometheusOptions): Promise<Prometheus> => {
  const folder = await mkdtemp(join(tmpdir(), 'plimsoll-prometheus-'))
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true })
  try {
    const config = await writeConfig(folder, options)
    const targets = options.jobs.flatMap((job) => job.targets).length
    return await run(config, folder, targets, remove)
  } catch (error) {
    await remove()
    throw error
  }
}

const writeConfig = async (folder: string, { jobs, rules = {} }: PrometheusOptions): Promise<string> => {
  const ruleFiles = Object.entries(rules).map(([name, yaml]) => ({ path: join(folder, name), yaml }))
  await Promise.all(ruleFiles.map(({ path, yaml }) => writeFile(path, evaluatedSoon(yaml))))
  const config = {
    global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
    rule_files: ruleFiles.map(({ path }) => path),
    scrape_configs: jobs.map(({ job, targets, everySeconds = 1 }) => ({
      job_name: job,
      scrape_interval: `${everySeconds}s`,
      scrape_timeout: `${everySeconds}s`,
      static_configs: [{ targets }],
    })),
  }
  const path = join(folder, 'prometheus.yml')
  await writeFile(path, stringify(config))
  return path
}

/** Each second: a group may be evaluated for the first time as late as its own interval. */
const evaluatedSoon = (yaml: string): string => {
  const { groups } = parse(yaml) as { groups: Readonly<Record<string, unknown>>[] }
  return stringify({ groups: groups.map((group) => ({ ...group, interval: '1s' })) })
}

const run = async (
  config: string,
  folder: string,
  targets: number,
  remove: () => Promise<void>,
): Promise<Prometheus> => {
  const flags = {
    'config.file': config,
    'storage.tsdb.path': join(folder, 'data'),
    'web.listen-address': '127.0.0.1:0',
    'enable-feature': 'exemplar-storage',
  }
  const args = Object.entries(flags).map(([name, value]) => `--${name}=${value}`)
  const server = spawn('prometheus', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] })
  // A test process that ends early must not leave it behind.
  const kill = (): void => void server.kill('SIGKILL')
  process.once('exit', kill)
  const log: string[] = []
  createInterface(server.stderr).on('line', (line) => log.push(line))
  const stop = async (): Promise<void> => {
    await end(server)
    process.removeListener('exit', kill)
    await remove()
  }
  try {
    const url = await until('prometheus listens and is ready', () => readyAt(server, log), longestStartMs)
    return { url, log, ...client(url, targets), [Symbol.asyncDispose]: stop }
  } catch (error) {
    await stop()
    throw error
  }
}

const longestStartMs = 30_000

/** Its URL once it is ready; throws when it has ended. */
const readyAt = ({ exitCode }: ChildProcess, log: readonly string[]): string | undefined => {
  if (exitCode !== null) throw new Error(`prometheus ended with ${exitCode}:\n${log.slice(-5).join('\n')}`)
  const address = log.map((line) => /msg="Listening on" address=(\S+)/.exec(line)?.[1]).find(Boolean)
  const isReady = log.some((line) => line.includes('Server is ready to receive web requests'))
  return isReady && address !== undefined ? `http://${address}` : undefined
}

const end = async (server: ChildProcess): Promise<void> => {
  if (server.exitCode !== null || server.signalCode !== null) return
  // Its data is thrown away: nothing is worth an orderly end.
  server.kill('SIGKILL')
  await once(server, 'exit')
}

type Client = Omit<Prometheus, 'url' | 'log' | typeof Symbol.asyncDispose>

const client = (url: string, expected: number): Client => {
  const get = <Data>(path: string, parameters: Readonly<Record<string, string | number>> = {}): Promise<Data> =>
    ask<Data>(`${url}/api/v1/${path}`, parameters)
  const targets = async (): Promise<readonly Target[]> =>
    (await get<{ activeTargets: ApiTarget[] }>('targets')).activeTargets.map(toTarget)
  return {
    query: async (query, atSeconds) =>
      toVector(await get('query', { query, ...(atSeconds !== undefined && { time: atSeconds }) })),
    queryRange: async (query, { fromSeconds, toSeconds, step }) =>
      toMatrix(await get('query_range', { query, start: fromSeconds, end: toSeconds, step })),
    exemplars: async (query, lastSeconds = 300) => {
      const nowSeconds = wallSeconds()
      const range = { start: nowSeconds - lastSeconds, end: nowSeconds + 1 }
      return (await get<ApiExemplars[]>('query_exemplars', { query, ...range })).map(toExemplars)
    },
    targets,
    rules: async () => (await get<{ groups: { rules: Rule[] }[] }>('rules')).groups.flatMap(({ rules }) => rules),
    scraped: async (timeoutMs = 15_000) => {
      const since = wallSeconds()
      const all = async (): Promise<boolean> =>
        (await targets()).filter(({ lastScrapeSeconds }) => lastScrapeSeconds > since).length === expected
      await until('a scrape of every target', all, timeoutMs)
    },
  }
}

const wallSeconds = (): number => (performance.timeOrigin + performance.now()) / 1_000

type Answer<Data> = { readonly status: 'success' | 'error'; readonly data: Data; readonly error?: string }

const ask = async <Data>(url: string, parameters: Readonly<Record<string, string | number>>): Promise<Data> => {
  const search = new URLSearchParams(Object.entries(parameters).map(([name, value]) => [name, String(value)]))
  const response = await fetch(`${url}?${search.toString()}`)
  const answer = (await response.json()) as Answer<Data>
  if (answer.status === 'error') throw new Error(answer.error)
  return answer.data
}

type Point = readonly [atSeconds: number, value: string]
type ApiResult =
  | { readonly resultType: 'vector'; readonly result: readonly { metric: Labels; value: Point }[] }
  | { readonly resultType: 'matrix'; readonly result: readonly { metric: Labels; values: readonly Point[] }[] }
  | { readonly resultType: 'scalar' | 'string'; readonly result: Point }

const toVector = (data: ApiResult): Vector => {
  if (data.resultType === 'vector')
    return data.result.map(({ metric, value }) => ({ labels: metric, value: +value[1] }))
  if (data.resultType === 'matrix') throw new Error('the expression is a range of samples, not an instant')
  return [{ labels: {}, value: Number(data.result[1]) }]
}

const toMatrix = (data: ApiResult): Matrix => {
  if (data.resultType !== 'matrix') throw new Error(`not a matrix but a ${data.resultType}`)
  return data.result.map(({ metric, values }) => ({
    labels: metric,
    points: values.map(([atSeconds, value]) => ({ atSeconds, value: Number(value) })),
  }))
}

type ApiExemplars = {
  readonly seriesLabels: Labels
  readonly exemplars: readonly { labels: Labels; value: string; timestamp: number }[]
}

const toExemplars = ({ seriesLabels, exemplars }: ApiExemplars): ExemplarSeries => ({
  labels: seriesLabels,
  exemplars: exemplars.map(({ labels, value, timestamp }) => ({ labels, value: Number(value), atSeconds: timestamp })),
})

type ApiTarget = {
  readonly labels: Labels
  readonly scrapeUrl: string
  readonly health: string
  readonly lastError: string
  readonly lastScrape: string
}

const toTarget = ({ labels, scrapeUrl, health, lastError, lastScrape }: ApiTarget): Target => ({
  job: labels['job']!,
  url: scrapeUrl,
  up: health === 'up',
  lastError,
  lastScrapeSeconds: Date.parse(lastScrape) / 1_000,
})
