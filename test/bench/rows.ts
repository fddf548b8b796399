/** What the bench measures: servers, rows and bars are data; `measure.ts` knows none of them by name. */
import { fileURLToPath } from 'node:url'
import { telemetryRows, type TelemetryServerName, telemetryServersOf } from './telemetry-rows.ts'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

export type ServerName = 'ours' | 'bare' | 'koa' | 'fastapi' | 'limited' | 'unlimited' | TelemetryServerName

/** A program that serves HTTP on `HOST`:`PORT` and finds its database at `DATABASE_URL`. */
export type Server = {
  readonly name: ServerName
  readonly title: string
  readonly command: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Of its requests, the share whose traces it sends to the sink; undefined: it knows none. */
  readonly tracedShare?: number
}

export const root = here('../../')
export const pythonEnvironment = here('../../.plimsoll/bench/venv')
export const pythonRequirements = here('peers/fastapi/requirements.txt')

/**
 * The servers by name; `entry` is the built command line of Plimsoll that stands for "ours", `sinkUrl` where those send
 * their traces that make some.
 */
export const serversOf = (entry: string, sinkUrl = ''): Record<ServerName, Server> => ({
  ...telemetryServersOf(entry, sinkUrl),
  ours: {
    name: 'ours',
    title: 'Plimsoll as it comes: metrics and logs on, no collector for traces',
    command: [process.execPath, entry, 'serve'],
  },
  limited: {
    name: 'limited',
    title: 'Plimsoll as it comes, with all limits',
    command: [process.execPath, entry, 'serve'],
    env: { ADMISSION: 'fixed', RATE_LIMIT: '10000000/s' },
  },
  unlimited: {
    name: 'unlimited',
    title: 'Plimsoll as it comes, without limits',
    command: [process.execPath, entry, 'serve'],
    env: { ADMISSION: 'off' },
  },
  bare: { name: 'bare', title: 'node:http', command: [process.execPath, here('peers/bare-http.cjs')] },
  koa: { name: 'koa', title: 'koa + router + pg', command: [process.execPath, here('peers/koa-stock.ts')] },
  fastapi: {
    name: 'fastapi',
    title: 'FastAPI',
    command: [`${pythonEnvironment}/bin/python`, here('peers/fastapi/app.py')],
  },
})

/** What a row promises of its figure: a bar to reach, and a stretch beyond it where there is one. */
export type Target = { readonly direction: 'at least' | 'at most'; readonly bar: number; readonly stretch?: number }

type AnyRow = {
  readonly name: string
  /** The rows of a group are measured together, with no other servers up, and can be asked for by its name. */
  readonly group: 'speed' | 'telemetry'
  /** Who is measured, where it is not ours as it comes. */
  readonly subject?: ServerName
  readonly path: string
  /** Shown for the reader; the figure does not depend on them. */
  readonly beside: readonly ServerName[]
  readonly target: Target
}

/** Requests per second of the subject, as a share of another server's in the same round or of a fixed rate. */
export type LoadRow = AnyRow & {
  readonly kind: 'load'
  readonly connections: number
  readonly against: ServerName | number
  /**
   * Which servers must have used their whole core for a round to count. With a database the other one must: were it held
   * up, the ratio would flatter us. That Postgres holds ours up first only makes the ratio a floor, and is noted.
   */
  readonly wholeCoreOf: 'both' | 'the other' | 'none'
  /** Longer rounds than the others need. With waits of 100 ms, each round loses up to 100 ms to its last ones. */
  readonly secondsAtLeast?: number
}

/** Milliseconds from spawning `serve` to its first 200, as a multiple of another server's. */
export type StartRow = AnyRow & {
  readonly kind: 'start'
  readonly against: ServerName
  readonly spawnsPerRound: number
}

/** Megabytes resident in one worker after load, or how many more they are than another server's. */
export type MemoryRow = AnyRow & {
  readonly kind: 'memory'
  readonly connections: number
  readonly against?: ServerName
  /** How many servers of each are loaded, one after the other. */
  readonly servers: number
}

export type Row = LoadRow | StartRow | MemoryRow

const atLeast = (bar: number, stretch: number): Target => ({ direction: 'at least', bar, stretch })

const databaseRow = {
  kind: 'load',
  group: 'speed',
  connections: 64,
  against: 'koa',
  beside: ['fastapi'],
  wholeCoreOf: 'the other',
} as const

const waitRow = {
  kind: 'load',
  group: 'speed',
  path: '/work/wait?ms=100',
  beside: ['bare', 'koa', 'fastapi'],
  wholeCoreOf: 'none',
  secondsAtLeast: 10,
} as const

/** Who is measured in a row. */
export const subjectOf = (row: Row): ServerName => row.subject ?? 'ours'

/** The servers of a row: whom it is compared with first, the subject next. */
export const participants = (row: Row): readonly ServerName[] => {
  const { against } = row
  const compared = against === undefined || typeof against === 'number' ? [] : [against]
  return [...new Set([...compared, subjectOf(row), ...row.beside])]
}

const speedRows: readonly Row[] = [
  {
    kind: 'load',
    group: 'speed',
    name: 'json',
    path: '/json',
    connections: 64,
    against: 'bare',
    beside: ['koa', 'fastapi'],
    wholeCoreOf: 'both',
    target: atLeast(0.9, 1),
  },
  {
    kind: 'load',
    group: 'speed',
    name: 'limits',
    path: '/json',
    connections: 64,
    subject: 'limited',
    against: 'unlimited',
    beside: [],
    wholeCoreOf: 'both',
    target: atLeast(0.95, 0.98),
  },
  { ...databaseRow, name: 'db', path: '/db', target: atLeast(2, 2.8) },
  { ...databaseRow, name: 'queries', path: '/queries?queries=20', target: atLeast(1.7, 2.4) },
  { ...databaseRow, name: 'updates', path: '/updates?queries=20', target: atLeast(1.7, 2.4) },
  { ...databaseRow, name: 'items', path: '/items?limit=100', target: atLeast(1.5, 1.8) },
  { ...waitRow, name: 'wait-1000', connections: 1000, against: 10_000, target: atLeast(0.95, 0.97) },
  { ...waitRow, name: 'wait-4000', connections: 4000, against: 40_000, target: atLeast(0.7, 0.8) },
  {
    kind: 'start',
    group: 'speed',
    name: 'start',
    path: '/json',
    against: 'bare',
    beside: ['fastapi'],
    spawnsPerRound: 4,
    target: { direction: 'at most', bar: 2.5, stretch: 2 },
  },
  {
    kind: 'memory',
    group: 'speed',
    name: 'memory',
    path: '/json',
    connections: 64,
    beside: [],
    servers: 1,
    target: { direction: 'at most', bar: 130 },
  },
]

export const rows: readonly Row[] = [...speedRows, ...telemetryRows]

/** What a reader may ask for: rows by name, or all of a group. */
export const isNamed = (row: Row, name: string): boolean => row.name === name || row.group === name
