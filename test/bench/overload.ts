/**
 * `npm run bench:overload`: goodput from half to ten times what the service can do, and the bound that the cost of
 * refusing sets.
 *
 *     node test/bench/overload.ts [WORKLOAD...] [--seconds 5] [--json FILE] [--entry dist/main.js]
 *
 * The service has core 0, an open-loop Poisson generator core 1. Capacity is first measured: the goodput at a rate a
 * little over the nominal one. Each point is then offered for some seconds, the first one left out. After ten times
 * capacity the rate falls back to 0.8 of it without a pause: of what arrives in the first second nearly all must be
 * served.
 *
 * The bound: a request that is served takes `s` of the core, one that is refused `r`. With `A` arrivals and `g` served
 * per second the core is full when `g s + (A - g) r = 1`, so `g <= (1 - A r) / (s - r)`, and never more than capacity.
 * `s` is what the peak says, `r` is measured on a service that has one slot, held, and refuses everything else. Where no
 * CPU is the limit (waiting) the peak is the bound.
 *
 * Bars are printed as met or missed; a slow machine fails nothing.
 */
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { parseArgs, promisify } from 'node:util'
import { fileURLToPath } from 'node:url'
import { cpuSeconds, generatorCore, leaveTheServerCore, whatIsMissing } from './machine.ts'
import type { Job, StageResult } from './overload-generator.ts'
import { table } from './print.ts'
import { root, serversOf } from './rows.ts'
import { killServer, startServer, type Spawned } from './servers.ts'
import { runWrk } from './wrk.ts'

type Workload = {
  readonly name: string
  readonly path: string
  readonly env: Readonly<Record<string, string>>
  /** By its definition: slots over seconds. */
  readonly nominalPerSecond: number
  readonly limitedByCpu: boolean
  /** Least share of the peak that goodput may fall to. */
  readonly bar: number
  readonly queueTimeoutMs: number
}

const workloads: readonly Workload[] = [
  {
    name: 'thread',
    path: '/work/cpu?ms=10',
    env: { THREADS: '1', MAX_IN_FLIGHT: '2', QUEUE_LENGTH: '8', QUEUE_TIMEOUT_MS: '200' },
    nominalPerSecond: 100,
    limitedByCpu: true,
    bar: 0.95,
    queueTimeoutMs: 200,
  },
  {
    name: 'waiting',
    path: '/work/wait?ms=50',
    env: { MAX_IN_FLIGHT: '20', QUEUE_LENGTH: '20', QUEUE_TIMEOUT_MS: '200' },
    nominalPerSecond: 400,
    limitedByCpu: false,
    bar: 0.95,
    queueTimeoutMs: 200,
  },
  {
    name: 'on-thread',
    path: '/work/block?ms=5',
    env: { QUEUE_LENGTH: '16', QUEUE_TIMEOUT_MS: '200' },
    nominalPerSecond: 200,
    limitedByCpu: true,
    bar: 0.9,
    queueTimeoutMs: 200,
  },
]

const multiples = [0.5, 0.8, 1, 1.5, 2, 4, 10]
const mostOverload = multiples.at(-1)!
const warmupMs = 1_000
const refusedBarMs = 50

type Point = StageResult & {
  readonly multiple: number
  readonly offered: number
  readonly coreShare: number
}
type Curve = {
  readonly workload: Workload
  readonly peak: number
  readonly refusalMs: number
  readonly points: readonly Point[]
  /** The second after the overload, at 0.8 of capacity. */
  readonly recovery: StageResult
}

const say = (line: string): void => void process.stderr.write(`${line}\n`)
const execute = promisify(execFile)
const generator = fileURLToPath(new URL('overload-generator.ts', import.meta.url))

const generate = async (server: Spawned, path: string, stages: Job['stages']): Promise<readonly StageResult[]> => {
  const job: Job = { url: `${server.origin}${path}`, seed: 1, stages }
  const { stdout } = await execute('taskset', ['-c', generatorCore, process.execPath, generator, JSON.stringify(job)])
  return JSON.parse(stdout) as StageResult[]
}

const start = (entry: string, env: Workload['env']): Promise<Spawned> =>
  startServer({ ...serversOf(entry).ours, env }, '')

/**
 * CPU time of a refusal, in ms: the service has one slot, a long request holds it, and everything else is turned away.
 * Back to back, as in a flood, where many are read and answered in one turn of the event loop: the least that one costs.
 */
const measureRefusalMs = async (entry: string): Promise<number> => {
  const server = await start(entry, { MAX_IN_FLIGHT: '1', QUEUE_LENGTH: '0' })
  try {
    const held = fetch(`${server.origin}/work/wait?ms=7000`)
    await runWrk(`${server.origin}/json`, 64, 2)
    const before = cpuSeconds(server.pid)
    const { badStatuses, ratePerSecond } = await runWrk(`${server.origin}/json`, 64, 4)
    const spentMs = (cpuSeconds(server.pid) - before) * 1_000
    await held
    if (ratePerSecond > 0) throw new Error('requests were served that should have been refused')
    return spentMs / badStatuses
  } finally {
    await killServer(server)
  }
}

const measureCurve = async (entry: string, workload: Workload, seconds: number, refusalMs: number): Promise<Curve> => {
  const { path, env, nominalPerSecond, name } = workload
  const server = await start(entry, env)
  try {
    const stage = (ratePerSecond: number) => ({ ratePerSecond, durationMs: warmupMs + seconds * 1_000, warmupMs })
    await generate(server, path, [{ ratePerSecond: nominalPerSecond / 2, durationMs: 2_000, warmupMs: 0 }])
    const [full] = await generate(server, path, [stage(nominalPerSecond * 1.2)])
    const capacity = full!.goodput
    const points: Point[] = []
    let recovery = full!
    for (const multiple of multiples) {
      const offered = capacity * multiple
      const stages = [stage(offered)]
      const after = { ratePerSecond: capacity * 0.8, durationMs: 1_000, warmupMs: 0 }
      const before = cpuSeconds(server.pid)
      const [point, next] = await generate(server, path, multiple === mostOverload ? [...stages, after] : stages)
      const spent = cpuSeconds(server.pid) - before
      recovery = next ?? recovery
      const coreShare = spent / (seconds + warmupMs / 1_000 + (next === undefined ? 0 : 1))
      points.push({ ...point!, multiple, offered, coreShare })
      say(`${name} x ${multiple}: goodput ${point!.goodput.toFixed(1)}/s, core ${coreShare.toFixed(2)}`)
    }
    const peak = Math.max(capacity, ...points.map(({ goodput }) => goodput))
    return { workload, peak, refusalMs, points, recovery }
  } finally {
    await killServer(server)
  }
}

/** The most that can be served of `arrivals` per second. */
const bound = ({ workload, peak, refusalMs }: Curve, arrivals: number): number => {
  const refusal = refusalMs / 1_000
  const full = workload.limitedByCpu ? (1 - arrivals * refusal) / (1 / peak - refusal) : peak
  return Math.max(0, Math.min(arrivals, peak, full))
}

const verdict = (met: boolean): string => (met ? 'met' : 'MISSED')

const judge = ({ workload, peak, points, recovery }: Curve): readonly string[] => {
  const over = points.at(-1)!
  const normal = points[0]!
  const share = over.goodput / peak
  const slowest = 2 * normal.servedP99 + workload.queueTimeoutMs
  const recovered = recovery.served / recovery.arrivals
  return [
    `goodput at ${mostOverload} x: ${(share * 100).toFixed(1)} % of the peak, bar ${workload.bar * 100} %: ${verdict(share >= workload.bar)}`,
    `p99 of served at ${mostOverload} x: ${over.servedP99.toFixed(0)} ms, bar ${slowest.toFixed(0)} ms (twice normal + queue timeout): ${verdict(over.servedP99 <= slowest)}`,
    `p99 of refusals at ${mostOverload} x: ${over.refusedP99.toFixed(1)} ms, bar ${refusedBarMs} ms: ${verdict(over.refusedP99 <= refusedBarMs)}`,
    `without an answer: ${over.unanswered}: ${verdict(over.unanswered === 0)}`,
    `in the first second after, at 0.8 x: ${(recovered * 100).toFixed(0)} % of what arrived was served: ${verdict(recovered >= 0.95)}`,
  ]
}

const fixed = (value: number, digits = 0): string => value.toFixed(digits)

const describe = (curve: Curve): string => {
  const { workload, peak, points } = curve
  const head = [
    '× capacity',
    'offered/s',
    'goodput/s',
    'of peak',
    'bound',
    'p50 ms',
    'p99 ms',
    'refused',
    'p99 ms',
    'core',
  ]
  const lines = points.map((point) => [
    fixed(point.multiple, 1),
    fixed(point.offered),
    fixed(point.goodput, 1),
    `${fixed((point.goodput / peak) * 100, 1)} %`,
    fixed(bound(curve, point.offered), 1),
    fixed(point.servedP50, 1),
    fixed(point.servedP99, 1),
    fixed(point.refused),
    point.refused === 0 ? '' : fixed(point.refusedP99, 1),
    fixed(point.coreShare, 2),
  ])
  return [`${workload.name}: ${workload.path}`, table([head, ...lines]), ...judge(curve)].join('\n')
}

const main = async (): Promise<void> => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      seconds: { type: 'string', default: '5' },
      json: { type: 'string' },
      entry: { type: 'string', default: `${root}dist/main.js` },
    },
  })
  const missing = whatIsMissing()
  if (missing.length > 0) return say(`No numbers: the bench needs\n${missing.join('\n')}`)
  leaveTheServerCore()
  const refusalMs = await measureRefusalMs(values.entry)
  const curves: Curve[] = []
  for (const workload of workloads.filter(({ name }) => positionals.length === 0 || positionals.includes(name))) {
    curves.push(await measureCurve(values.entry, workload, Number(values.seconds), refusalMs))
  }
  process.stdout.write(`A refusal costs at least ${(refusalMs * 1_000).toFixed(1)} µs of CPU.\n\n`)
  process.stdout.write(`${curves.map(describe).join('\n\n')}\n`)
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(curves, undefined, 2)}\n`)
}

await main()
