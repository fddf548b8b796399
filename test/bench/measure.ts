/** Measuring one row: a warm-up, then interleaved rounds until enough of them count. */
import { cpuSeconds, residentMegabytes } from './machine.ts'
import { isVoid, summarise } from './result.ts'
import type { Figure, Round, RowResult } from './result.ts'
import { type LoadRow, type MemoryRow, participants, type Row, type Server, type ServerName } from './rows.ts'
import type { StartRow } from './rows.ts'
import { firstAnswerMs, killServer, spawnServer, startServer, stopServer } from './servers.ts'
import type { Spawned } from './servers.ts'
import { runWrk } from './wrk.ts'

export type Bench = {
  readonly rounds: number
  readonly seconds: number
  readonly databaseUrl: string
  /** The servers that take part; FastAPI is missing where Python cannot install it. */
  readonly servers: Readonly<Partial<Record<ServerName, Server>>>
  /** Those of them that run, for the rows that put load on them. */
  readonly running: Readonly<Partial<Record<ServerName, Spawned>>>
  readonly progress: (line: string) => void
  /** Requests answered so far by each server, measured or not. */
  readonly answered: Partial<Record<ServerName, number>>
}

const turn = async <Each extends { name: ServerName }>(
  servers: readonly Each[],
  measure: (server: Each) => Promise<Figure>,
): Promise<Round> => {
  const round: Partial<Record<ServerName, Figure>> = {}
  for (const server of servers) round[server.name] = await measure(server)
  return round
}

/** Puts load on one server and watches how much of its core it uses. */
const loadOnce = async (
  row: LoadRow | MemoryRow,
  server: Spawned,
  seconds: number,
  { answered }: Bench,
): Promise<Figure> => {
  const cpuBefore = cpuSeconds(server.pid)
  const startedAt = performance.now()
  const load = await runWrk(`${server.origin}${row.path}`, row.connections, seconds)
  const wallSeconds = (performance.now() - startedAt) / 1000
  answered[server.name] = (answered[server.name] ?? 0) + load.requests
  return {
    value: load.ratePerSecond,
    coreShare: (cpuSeconds(server.pid) - cpuBefore) / wallSeconds,
    failures: load.badStatuses + load.socketErrors,
  }
}

/** The servers of a row in their order, without those that do not take part here. */
const pick = <Each>(row: Row, from: Readonly<Partial<Record<ServerName, Each>>>): readonly Each[] =>
  participants(row).flatMap((name) => from[name] ?? [])

const describeRound = (round: Round): string =>
  Object.entries(round)
    .map(([name, { value, coreShare = 0 }]) => `${name} ${value.toFixed(0)} (core ${coreShare.toFixed(2)})`)
    .join('  ')

/** Void rounds are repeated, but a machine that is busy with something else is not waited for without end. */
const mostAttempts = 3

const measureLoad = async (row: LoadRow, bench: Bench): Promise<readonly Round[]> => {
  const servers = pick(row, bench.running)
  const seconds = Math.max(bench.seconds, row.secondsAtLeast ?? 0)
  await turn(servers, (server) => loadOnce(row, server, Math.max(2, bench.seconds), bench))
  const rounds: Round[] = []
  const counting = () => rounds.filter((round) => !isVoid(row, round)).length
  while (counting() < bench.rounds && rounds.length < mostAttempts * bench.rounds) {
    const round = await turn(servers, (server) => loadOnce(row, server, seconds, bench))
    rounds.push(round)
    bench.progress(`${row.name} ${rounds.length}${isVoid(row, round) ? ' void' : ''}: ${describeRound(round)}`)
  }
  return rounds
}

const startOnce = async (row: StartRow, server: Server, bench: Bench, end: typeof killServer): Promise<Figure> => {
  const spawned = await spawnServer(server, bench.databaseUrl)
  try {
    return { value: await firstAnswerMs(spawned, row.path) }
  } finally {
    await end(spawned)
  }
}

/** The first spawn of each is not counted and ends in peace: disk and compile caches are then as in a second start. */
const measureStart = async (row: StartRow, bench: Bench): Promise<readonly Round[]> => {
  const servers = pick(row, bench.servers)
  await turn(servers, (server) => startOnce(row, server, bench, stopServer))
  const rounds: Round[] = []
  for (let spawn = 0; spawn < bench.rounds * row.spawnsPerRound; spawn += 1)
    rounds.push(await turn(servers, (server) => startOnce(row, server, bench, killServer)))
  bench.progress(`${row.name}: ${rounds.length} spawns each`)
  return rounds
}

/** A server of its own, so that nothing but this row's load has grown it. */
const memoryOnce = async (row: MemoryRow, server: Server, bench: Bench): Promise<Figure> => {
  const spawned = await startServer(server, bench.databaseUrl)
  try {
    await loadOnce(row, spawned, bench.rounds * bench.seconds, bench)
    return { value: residentMegabytes(spawned.pid) }
  } finally {
    await killServer(spawned)
  }
}

const measureMemory = async (row: MemoryRow, bench: Bench): Promise<readonly Round[]> => {
  const rounds: Round[] = []
  while (rounds.length < row.servers)
    rounds.push(await turn(pick(row, bench.servers), (server) => memoryOnce(row, server, bench)))
  bench.progress(`${row.name}: ${rounds.length} servers each`)
  return rounds
}

const roundsOf = (row: Row, bench: Bench): Promise<readonly Round[]> => {
  if (row.kind === 'load') return measureLoad(row, bench)
  return row.kind === 'start' ? measureStart(row, bench) : measureMemory(row, bench)
}

export const measureRow = async (row: Row, bench: Bench): Promise<RowResult> =>
  summarise(row, await roundsOf(row, bench))
