import { randomInt, randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import type { RunResult, TimelinePoint } from '../contract/run-result.ts'
import { systemClock } from '../kit/clock.ts'
import type { RunMetrics } from '../lab/load/metrics.ts'
import type { LoadOptions } from '../lab/load/options.ts'
import { readBuild } from './build.ts'
import { FlagReader, oneOf } from './flag-reader.ts'
import type { CommandHost } from './host.ts'
import {
  arrivalKinds,
  readLoadOptions,
  readMetricsOptions,
  type LoadFlags,
  type MetricsOptions,
} from './load-options.ts'

const repeated = (value: string, earlier: readonly string[] = []): string[] => [...earlier, value]

/** Adds `plimsoll load URL... --rate 200 --for 10s`. */
export const addLoadCommand = (program: Command, host: CommandHost): void => {
  program
    .command('load')
    .summary('send requests at a fixed rate, whatever the service does, and measure')
    .description(
      'Sends requests at the given rate without waiting for answers, and measures latency from when each request ' +
        'was meant to start. Exits with 3 when the result is invalid, 99 when an SLO failed, 130 when interrupted.',
    )
    .argument('[URL...]', 'http:// URLs, used in turn')
    .option('--rate <rate>', 'requests per second over all URLs: 500 or 500/s (required)')
    .option('--for <duration>', 'how long to measure', '10s')
    .option('--warmup <duration>', 'load before that, which is not measured', '0s')
    .option('--arrivals <kind>', `${arrivalKinds.join(' or ')}: even gaps, or those of independent users`, 'constant')
    .option('--seed <n>', 'repeats the arrivals of an earlier run (default: chosen, and shown)')
    .option('--timeout <duration>', 'for one request, from its sending to the end of the answer', '10s')
    .option('--max-in-flight <n>', 'most unanswered requests; arrivals beyond are counted as missed', '10000')
    .option('--connections <n>', 'connections opened to each URL before one is used again', '8')
    .option('--method <method>', 'HTTP method (default: GET, or POST with --body)')
    .option('--header <line>', "header to send, 'name: value'; repeatable", repeated)
    .option('--body <text>', 'body to send')
    .option('--slo <objective>', "'p99<100ms', 'errors<0.1%', 'rate>=500'; repeatable", repeated)
    .option('--metrics-port <port>', 'port of 127.0.0.1 that shows the run to Prometheus at /metrics; 0: a free one')
    .option('--metrics-linger <duration>', 'how long it shows the last figures when the run is over (default: 0s)')
    .option('-o, --output <format>', 'text or json', 'text')
    .action((urls: string[], flags: LoadFlags & { output: string }) => load(host, urls, flags))
}

const load = async (host: CommandHost, urls: string[], given: LoadFlags & { output: string }): Promise<void> => {
  const flags = new FlagReader()
  const output = flags.read('--output', given.output, oneOf(['text', 'json']), 'one of text, json')
  const options = readLoadOptions(flags, urls, given, () => randomInt(2 ** 32))
  const shown = readMetricsOptions(flags, given)
  flags.check()
  const id = randomUUID()
  await using metrics = shown && (await showMetrics(host, id, options, shown))
  const result = await run(host, id, options, metrics?.observer)
  const { describeRun } = await import('../lab/load/text.ts')
  host.stdout.write(output === 'json' ? `${JSON.stringify(result, null, 2)}\n` : describeRun(result))
  host.setExitCode(exitCodeOf(result))
  await metrics?.linger()
}

type ShownMetrics = AsyncDisposable & {
  readonly observer: RunMetrics
  /** Shows the last figures for as long as was asked, or until somebody interrupts. */
  readonly linger: () => Promise<void>
}

const showMetrics = async (
  { stderr, signal }: CommandHost,
  runId: string,
  options: LoadOptions,
  { port, lingerMs }: MetricsOptions,
): Promise<ShownMetrics> => {
  const { RunMetrics } = await import('../lab/load/metrics.ts')
  const { serveMetrics } = await import('../lab/load/metrics-server.ts')
  const observer = new RunMetrics({ ...options, runId })
  const server = await serveMetrics(port, () => observer.collect())
  stderr.write(`Metrics at ${server.url}\n`)
  const linger = async (): Promise<void> => {
    if (lingerMs > 0) await sleep(lingerMs, undefined, { signal }).catch(() => {})
  }
  return { observer, linger, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() }
}

/** Loads the lab only now: its libraries would slow the start of every other command. */
const run = async (
  host: CommandHost,
  id: string,
  options: LoadOptions,
  observer: RunMetrics | undefined,
): Promise<RunResult> => {
  const { httpTransport } = await import('../lab/load/http.ts')
  const { runLoad } = await import('../lab/load/run.ts')
  const { describeSecond } = await import('../lab/load/text.ts')
  const tool = readBuild(host.env)
  const transport = httpTransport({ ...options, headers: withUserAgent(options.headers, tool) })
  const progress = progressTo(host.stderr, describeSecond)
  try {
    const identity = { id, tool, startedAt: new Date() }
    const deps = {
      clock: systemClock,
      transport,
      signal: host.signal,
      onSecond: progress.show,
      ...(observer && { observer }),
    }
    return await runLoad(identity, options, deps)
  } finally {
    progress.end()
    await transport.close()
  }
}

const withUserAgent = (headers: LoadOptions['headers'], tool: RunResult['tool']): LoadOptions['headers'] =>
  headers.some(([name]) => name.toLowerCase() === 'user-agent')
    ? headers
    : [...headers, ['user-agent', `${tool.name}/${tool.version}`]]

/** How many seconds lie between two lines of progress that cannot be rewritten in place. */
const quietSeconds = 5

const progressTo = (stream: CommandHost['stderr'], describe: (point: TimelinePoint) => string) => {
  let seconds = 0
  return {
    show: (point: TimelinePoint): void => {
      seconds++
      if (stream.isTTY) stream.write(`\r\u001b[K${describe(point)}`)
      else if (seconds % quietSeconds === 0) stream.write(`${describe(point)}\n`)
    },
    end: (): void => {
      if (stream.isTTY && seconds > 0) stream.write('\r\u001b[K')
    },
  }
}

const exitCodeOf = ({ achieved, verdict, slos }: RunResult): number => {
  if (achieved.interrupted) return 130
  if (verdict.status === 'invalid') return 3
  return slos.every(({ passed }) => passed) ? 0 : 99
}
