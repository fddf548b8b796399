import { spawn } from 'node:child_process'
import { relative } from 'node:path'
import { untilAborted } from '../../kit/cancellation.ts'
import { Failure } from '../../kit/errors.ts'
import type { ReplicaStatus } from './fleet.ts'
import { startLocalFleet } from './local.ts'
import { startEmbeddedPostgres } from './postgres.ts'
import { asBlock, describeExit, exitOf, LastLines, readLines, type Exit } from './processes.ts'
import type { CommandLine, Environment } from './replica.ts'

export type UpOptions = {
  /** How Plimsoll is run: `[process.execPath, 'dist/main.js']`. */
  readonly command: CommandLine
  /** Environment of the processes that are started. A `DATABASE_URL` in it is used instead of an embedded database. */
  readonly env: Environment
  readonly replicas: number
  readonly host: string
  /** First port to serve on. */
  readonly port: number
  /** First port to try for the embedded database. */
  readonly databasePort: number
  /** Folder of the embedded database. */
  readonly dataDir: string
  /** Told what happens, in sentences for a user. */
  readonly note: (text: string) => void
  /** Called once everything runs. */
  readonly onReady: (up: Up) => void
  /** Stops everything, at any time. */
  readonly signal: AbortSignal
}

/** What runs, and where. */
export type Up = Readonly<{ replicas: readonly ReplicaStatus[]; database: Database; readyAfterMs: number }>

type Database = Readonly<{
  url: string
  /** Folder of the embedded database; undefined for one that somebody else runs. */
  dataDir?: string
  /** Resolves if the embedded database ends. */
  exited?: Promise<Exit>
}>

/**
 * Runs a database, its migrations and a fleet of the service until `signal` aborts, and then stops them in reverse:
 * the replicas drain before their database goes. Resolves when nothing it started is left; so does an abort half-way
 * through the start. Whatever fails, all that was started is stopped before it throws.
 */
export const runUp = async (options: UpOptions): Promise<void> => {
  const { command, host, port, replicas, signal, note } = options
  const startedAt = performance.now()
  await using running = new AsyncDisposableStack()
  try {
    signal.throwIfAborted()
    const database = await openDatabase(options, running)
    signal.throwIfAborted()
    const env = { ...options.env, DATABASE_URL: database.url }
    await migrate(command, env, signal)
    const onLine = (line: string, name: string): void => {
      const readable = readableLine(line)
      if (readable !== undefined) note(`${name} | ${readable}`)
    }
    const fleet = running.use(await startLocalFleet({ command, env, replicas, host, port, note, onLine, signal }))
    options.onReady({ replicas: fleet.replicas(), database, readyAfterMs: performance.now() - startedAt })
    await Promise.race([untilAborted(signal), untilLost(database)])
    note('stopping')
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

const openDatabase = async (options: UpOptions, running: AsyncDisposableStack): Promise<Database> => {
  const { env, databasePort, dataDir, note } = options
  const given = env['DATABASE_URL']
  if (given !== undefined && given !== '') return { url: given }
  return running.use(await startEmbeddedPostgres({ dataDir, port: databasePort, note }))
}

const migrate = async ([program, ...args]: CommandLine, env: Environment, signal: AbortSignal): Promise<void> => {
  const child = spawn(program, [...args, 'migrate'], {
    env: { ...env },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
  })
  const exited = exitOf(child)
  const output = new LastLines()
  const onLine = (line: string): void => output.add(line)
  await Promise.all([readLines(child.stdout, onLine), readLines(child.stderr, onLine)])
  const exit = await exited
  if (exit.code === 0) return
  throw new Failure('migrate_failed', { detail: `plimsoll migrate ${describeExit(exit)}${asBlock(output.lines)}` })
}

const untilLost = async ({ exited, dataDir }: Database): Promise<never> => {
  if (exited === undefined) return await new Promise<never>(() => {})
  const detail = `PostgreSQL ${describeExit(await exited)}: see ${dataDir}/postgres.log`
  throw new Failure('database_lost', { detail })
}

/** Levels of pino's JSON logs that a user of a fleet should see. */
const levelNames: Readonly<Record<number, string>> = { 40: 'warning', 50: 'error', 60: 'fatal' }

type LogEntry = Readonly<{ level?: number; msg?: string; err?: Readonly<{ message?: string }> }>

/**
 * What a user of a fleet should see of a line that a replica wrote: a log entry of level `warn` or above as a short
 * text, anything that is no log entry as it is, and undefined for routine entries and empty lines.
 */
export const readableLine = (line: string): string | undefined => {
  const entry = parseLogEntry(line)
  if (entry?.level === undefined) return line.trim() === '' ? undefined : line
  const level = levelNames[entry.level]
  if (level === undefined) return undefined
  const reasons = [entry.msg, entry.err?.message].filter((reason) => reason !== undefined)
  return `${level}: ${[...new Set(reasons)].join(': ')}`
}

const parseLogEntry = (line: string): LogEntry | undefined => {
  try {
    return line.startsWith('{') ? (JSON.parse(line) as LogEntry) : undefined
  } catch {
    return undefined
  }
}

/** Says what runs, where, and what to try next. */
export const describeUp = ({ replicas, database, readyAfterMs }: Up, workingDir: string): string => {
  const { url, dataDir } = database
  const kept = dataDir === undefined ? '' : `   data and password in ${shortest(dataDir, workingDir)}`
  const rows = replicas.map(({ name, url, adminUrl }) => `  ${name.padEnd(10)} ${url}   admin ${adminUrl}`)
  const [first] = replicas
  return [
    `Plimsoll is up: ${replicas.length} ${replicas.length === 1 ? 'replica' : 'replicas'}, ready after ${(readyAfterMs / 1_000).toFixed(1)} s`,
    '',
    ...rows,
    `  ${'database'.padEnd(10)} ${withoutPassword(url)}${kept}`,
    '',
    'Try next:',
    `  npm run -s plimsoll -- load ${replicas.map(({ url }) => `${url}/json`).join(' ')} --rate 200 --for 10s`,
    `  curl '${first?.url}/work/gather?ms=2000,3000,1000'`,
    `  curl ${first?.url}/items`,
    `  and in a browser ${first?.url}/docs: every route, to read and to try`,
    '',
    'Ctrl-C stops everything.',
    '',
  ].join('\n')
}

const withoutPassword = (databaseUrl: string): string => {
  if (!URL.canParse(databaseUrl)) return '(DATABASE_URL)'
  const url = new URL(databaseUrl)
  url.password = ''
  // Drivers take a password in the query, too.
  url.searchParams.delete('password')
  return url.href
}

const shortest = (path: string, from: string): string => {
  const short = relative(from, path)
  return short.startsWith('..') || short === '' ? path : short
}
