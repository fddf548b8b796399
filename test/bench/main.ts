/**
 * `npm run bench`: how fast Plimsoll is, as ratios to peers that run in the same minutes on the same cores.
 *
 *     node test/bench/main.ts [ROW...] [--rounds 5] [--seconds 4] [--quick] [--json FILE]
 *                             [--database URL] [--entry dist/main.js]
 *
 * Rows are the names in `rows.ts`; without any, all of them. What runs where:
 *
 * - core 0: the server under test, one process, pinned; the others of the row are idle meanwhile;
 * - core 1: `wrk`, one thread, 64 connections unless the row says otherwise;
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
 * the database, written updates. A wrong answer ends the bench with 1. A slow one does not: bars are printed as met or
 * missed, exit code 0. Wrong arguments: 2. Where `wrk`, `taskset` or a second core is missing it says so and ends
 * with 0; where Python cannot install FastAPI that column stays empty.
 */
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { availableParallelism, release } from 'node:os'
import { parseArgs } from 'node:util'
import { InputError } from '../../src/kit/errors.ts'
import type { Mistake } from '../../src/kit/errors.ts'
import { startEmbeddedPostgres } from '../../src/lab/fleet/postgres.ts'
import { prepareDatabase } from './database.ts'
import { leaveTheServerCore, openFilesLimit, whatIsMissing } from './machine.ts'
import { measureRow, participants } from './measure.ts'
import type { Bench } from './measure.ts'
import { report } from './print.ts'
import { preparePython } from './python.ts'
import type { RowResult } from './result.ts'
import { root, rows, serversOf } from './rows.ts'
import type { Row, Server, ServerName } from './rows.ts'
import { killServer, startServer } from './servers.ts'
import type { Spawned } from './servers.ts'
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
  const accepted = rows.map(({ name }) => name).join(', ')
  for (const value of positionals)
    if (!rows.some(({ name }) => name === value)) mistakes.push({ field: 'row', value, accepted })
  if (!existsSync(values.entry))
    mistakes.push({ field: '--entry', value: values.entry, accepted: 'the built command line: npm run build' })
  const options: Options = {
    rows: positionals.length === 0 ? rows : rows.filter(({ name }) => positionals.includes(name)),
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

const availableServers = async (entry: string): Promise<Partial<Record<ServerName, Server>>> => {
  const { fastapi, ...others } = serversOf(entry)
  const whyNot = await preparePython()
  if (whyNot === undefined) return { ...others, fastapi }
  say(`FastAPI is left out, Python cannot install it: ${whyNot}`)
  return others
}

const databaseServer = async (url: string | undefined, stack: AsyncDisposableStack): Promise<string> => {
  if (url !== undefined) return url
  const dataDir = `${root}.plimsoll/bench/postgres`
  const postgres = stack.use(await startEmbeddedPostgres({ dataDir, note: say }))
  return postgres.url
}

const startAll = async (names: readonly ServerName[], bench: Omit<Bench, 'running'>, stack: AsyncDisposableStack) => {
  const running: Partial<Record<ServerName, Spawned>> = {}
  for (const server of names.flatMap((name) => bench.servers[name] ?? [])) {
    const spawned = await startServer(server, bench.databaseUrl)
    stack.defer(() => killServer(spawned))
    running[server.name] = spawned
  }
  return running
}

const loadedServers = (chosen: readonly Row[]): readonly ServerName[] => [
  ...new Set(chosen.flatMap((row) => (row.kind === 'load' ? participants(row) : []))),
]

const measureAll = async (chosen: readonly Row[], bench: Bench): Promise<readonly RowResult[]> => {
  const results: RowResult[] = []
  for (const row of chosen) {
    const servers = row.kind === 'load' ? participants(row).flatMap((name) => bench.running[name] ?? []) : []
    await verifyRow(row, servers, bench.databaseUrl)
    results.push(await measureRow(row, bench))
  }
  return results
}

const machine = () => ({ node: process.version, kernel: release(), cores: availableParallelism() })

const bench = async (options: Options): Promise<void> => {
  const chosen = possibleRows(options.rows)
  const servers = await availableServers(options.entry)
  leaveTheServerCore()
  await using stack = new AsyncDisposableStack()
  const databaseUrl = await prepareDatabase(await databaseServer(options.database, stack), options.entry)
  const setting = { rounds: options.rounds, seconds: options.seconds, databaseUrl, servers, progress: say }
  const running = await startAll(loadedServers(chosen), setting, stack)
  const results = await measureAll(chosen, { ...setting, running })
  process.stdout.write(`${report(results)}\n`)
  if (options.json !== undefined)
    await writeFile(options.json, `${JSON.stringify({ machine: machine(), results }, undefined, 2)}\n`)
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
