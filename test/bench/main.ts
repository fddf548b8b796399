/**
 * `npm run bench`: how fast Plimsoll is, as ratios to peers that run in the same minutes on the same cores.
 *
 *     node test/bench/main.ts [ROW...] [--rounds 5] [--seconds 4] [--quick] [--json FILE]
 *                             [--database URL] [--entry dist/main.js]
 *
 * ROW is the name of a row in `rows.ts`, or `speed` or `telemetry` for a group of them; without any, all. What runs where:
 *
 * - core 0: the server under test, one process, pinned; the others of its group are idle meanwhile;
 * - core 1: `wrk`, one thread, 64 connections unless the row says otherwise, and the sink that traces are sent to;
 * - every core but 0: Postgres and this process. On two cores Postgres shares core 1 with `wrk`, in every row alike.
 *
 * Servers take turns (A B C A B C ...) after a warm-up of each. A ratio is taken within a round and its median over
 * the rounds is what counts: absolute numbers move by a factor of two between hours, ratios hold. A round in which a
 * server that must be the limit used less than 0.9 of its core is void and is repeated, up to three times as many rounds
 * as asked for; when none counts, the row is computed from the void ones and says so. "by CPU" is the same ratio in
 * requests per second of the servers' own CPU time; "µs" is that time per request. They stay when a neighbour or
 * Postgres takes the machine, so a wide gap between the two ratios says that the servers were not the limit.
 *
 * Before a row is measured its answers are checked: the same bytes from node:http and Plimsoll, the right rows from
 * the database, written updates, and spans from whoever shall send some. A wrong answer ends the bench with 1. A slow one
 * does not: bars are printed as met or missed, exit code 0. Wrong arguments: 2. Where `wrk`, `taskset` or a second core
 * is missing it says so and ends with 0; where Python cannot install FastAPI, or npm the auto-instrumentation, that column
 * stays empty, and a row that compares with it is left out.
 *
 * The rows of `speed` show Plimsoll as it comes: it measures and logs, and traces nothing, as nobody is named to send
 * traces to. Those of `telemetry` show what that costs, and what traces cost on top.
 */
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { availableParallelism, release } from 'node:os'
import { parseArgs } from 'node:util'
import { InputError } from '../../src/kit/errors.ts'
import type { Mistake } from '../../src/kit/errors.ts'
import { startEmbeddedPostgres } from '../../src/lab/fleet/postgres.ts'
import { prepareAutoInstrumentation } from './auto-instrumentation.ts'
import { prepareDatabase } from './database.ts'
import { leaveTheServerCore, openFilesLimit, whatIsMissing } from './machine.ts'
import { measureRow } from './measure.ts'
import type { Bench } from './measure.ts'
import { report } from './print.ts'
import { preparePython } from './python.ts'
import type { RowResult } from './result.ts'
import { isNamed, participants, root, rows, serversOf } from './rows.ts'
import type { Row, Server, ServerName } from './rows.ts'
import { killServer, startServer } from './servers.ts'
import type { Spawned } from './servers.ts'
import { type Sink, startSink } from './sink-process.ts'
import { proveTracing, reportTraces, type Traced, tracedBy } from './traces.ts'
import { verifyRow } from './verify.ts'

type Options = {
  readonly rows: readonly Row[]
  readonly rounds: number
  readonly seconds: number
  readonly json: string | undefined
  readonly database: string | undefined
  readonly entry: string
}

const say = (line: string): void => void process.stderr.write(`${line}\n`)

const readArguments = () =>
  parseArgs({
    allowPositionals: true,
    options: {
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
      database: { type: 'string' },
      entry: { type: 'string', default: `${root}dist/main.js` },
    },
  })

const parseOptions = (): Options => {
  const { values, positionals } = readArguments()
  const mistakes: Mistake[] = []
  const count = (field: 'rounds' | 'seconds', otherwise: number): number => {
    const value = Number(values[field] ?? otherwise)
    if (!Number.isInteger(value) || value < 1 || value > 100)
      mistakes.push({ field: `--${field}`, value: values[field], accepted: 'a whole number from 1 to 100' })
    return value
  }
  const accepted = [...new Set(rows.flatMap(({ group, name }) => [group, name]))].join(', ')
  for (const value of positionals)
    if (!rows.some((row) => isNamed(row, value))) mistakes.push({ field: 'row', value, accepted })
  if (!existsSync(values.entry))
    mistakes.push({ field: '--entry', value: values.entry, accepted: 'the built command line: npm run build' })
  const options: Options = {
    rows: positionals.length === 0 ? rows : rows.filter((row) => positionals.some((name) => isNamed(row, name))),
    rounds: count('rounds', values.quick ? 2 : 5),
    seconds: count('seconds', values.quick ? 2 : 4),
    json: values.json,
    database: values.database,
    entry: values.entry,
  }
  if (mistakes.length > 0) throw new InputError(mistakes)
  return options
}

/** Rows that this machine can carry; each connection is an open file at both ends. */
const possibleRows = (wanted: readonly Row[]): readonly Row[] => {
  const limit = openFilesLimit()
  const fits = (row: Row) => row.kind === 'start' || row.connections + 100 <= limit
  for (const row of wanted.filter((row) => !fits(row)))
    say(`${row.name} is left out: it needs more open files than ${limit} (ulimit -n)`)
  return wanted.filter(fits)
}

type Servers = Readonly<Partial<Record<ServerName, Server>>>

/** What must be installed for some of the servers. */
const preparations: readonly { of: readonly ServerName[]; what: string; prepare: () => Promise<string | undefined> }[] =
  [
    { of: ['fastapi'], what: 'FastAPI', prepare: preparePython },
    { of: ['auto', 'auto-100'], what: 'The auto-instrumentation', prepare: prepareAutoInstrumentation },
  ]

/** The servers that take part in these rows, without those that cannot be installed. */
const availableServers = async (chosen: readonly Row[], all: Servers): Promise<Servers> => {
  const wanted = new Set(chosen.flatMap(participants))
  for (const { of, what, prepare } of preparations) {
    if (!of.some((name) => wanted.has(name))) continue
    const whyNot = await prepare()
    if (whyNot === undefined) continue
    say(`${what} is left out, it cannot be installed: ${whyNot}`)
    for (const name of of) wanted.delete(name)
  }
  return Object.fromEntries([...wanted].map((name) => [name, all[name]]))
}

const withoutMissing = (chosen: readonly Row[], servers: Servers): readonly Row[] => {
  const has = ({ against }: Row) => typeof against !== 'string' || servers[against] !== undefined
  for (const { name, against } of chosen.filter((row) => !has(row))) say(`${name} is left out: there is no ${against}`)
  return chosen.filter(has)
}

const databaseServer = async (url: string | undefined, stack: AsyncDisposableStack): Promise<string> => {
  if (url !== undefined) return url
  const dataDir = `${root}.plimsoll/bench/postgres`
  const postgres = stack.use(await startEmbeddedPostgres({ dataDir, note: say }))
  return postgres.url
}

const startAll = async (names: readonly ServerName[], setting: Setting, stack: AsyncDisposableStack) => {
  const running: Partial<Record<ServerName, Spawned>> = {}
  for (const server of names.flatMap((name) => setting.servers[name] ?? [])) {
    const spawned = await startServer(server, setting.databaseUrl)
    stack.defer(() => killServer(spawned))
    running[server.name] = spawned
  }
  return running
}

const loadedServers = (chosen: readonly Row[]): readonly ServerName[] => [
  ...new Set(chosen.flatMap((row) => (row.kind === 'load' ? participants(row) : []))),
]

type Setting = Omit<Bench, 'running'> & { readonly sink: Sink }
type Measured = { readonly results: readonly RowResult[]; readonly traced: readonly Traced[] }

/** Those of them that send traces. */
const tracing = (servers: Servers): readonly Server[] =>
  Object.values(servers).filter(({ tracedShare }) => tracedShare !== undefined)

const measureGroup = async (chosen: readonly Row[], setting: Setting): Promise<Measured> => {
  const { servers, databaseUrl, sink, answered } = setting
  await using stack = new AsyncDisposableStack()
  const running = await startAll(loadedServers(chosen), setting, stack)
  const tracers = tracing(servers)
  await proveTracing(tracers, running, sink)
  const results: RowResult[] = []
  for (const row of chosen) {
    const loaded = row.kind === 'load' ? participants(row).flatMap((name) => running[name] ?? []) : []
    await verifyRow(row, loaded, databaseUrl)
    results.push(await measureRow(row, { ...setting, running }))
  }
  // While they run: what waits in them is still to come.
  const traced = tracers.length === 0 ? [] : tracedBy(tracers, answered, await sink.settled())
  return { results, traced }
}

const show = ({ results, traced }: Measured, servers: Servers): void => {
  const parts = [report(results, servers), ...(traced.length > 0 ? [reportTraces(traced)] : [])]
  process.stdout.write(`${parts.join('\n\n')}\n\n`)
}

const machine = () => ({ node: process.version, kernel: release(), cores: availableParallelism() })

const bench = async (options: Options): Promise<void> => {
  leaveTheServerCore()
  await using stack = new AsyncDisposableStack()
  const sink = stack.use(await startSink())
  const wanted = possibleRows(options.rows)
  const servers = await availableServers(wanted, serversOf(options.entry, sink.url))
  const chosen = withoutMissing(wanted, servers)
  const databaseUrl = await prepareDatabase(await databaseServer(options.database, stack), options.entry)
  const { rounds, seconds } = options
  const setting = { rounds, seconds, databaseUrl, servers, progress: say, answered: {}, sink }
  const all: Measured[] = []
  for (const group of Map.groupBy(chosen, ({ group }) => group).values()) {
    const measured = await measureGroup(group, setting)
    all.push(measured)
    show(measured, servers)
  }
  await save(options, all)
}

const save = async ({ json }: Options, all: readonly Measured[]): Promise<void> => {
  if (json === undefined) return
  const results = all.flatMap(({ results }) => results)
  const traced = all.flatMap(({ traced }) => traced)
  await writeFile(json, `${JSON.stringify({ machine: machine(), results, traced }, undefined, 2)}\n`)
}

const main = async (): Promise<number> => {
  const missing = whatIsMissing()
  if (missing.length > 0) {
    say(`No numbers: the bench needs\n${missing.map((each) => `  ${each}`).join('\n')}`)
    return 0
  }
  try {
    await bench(parseOptions())
    return 0
  } catch (error) {
    const { code } = error as { code?: unknown }
    const isUsage = error instanceof InputError || (typeof code === 'string' && code.startsWith('ERR_PARSE_ARGS'))
    say(isUsage ? (error as Error).message : ((error as Error).stack ?? String(error)))
    return isUsage ? 2 : 1
  }
}

process.exitCode = await main()
