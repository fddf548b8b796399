import { randomInt, randomUUID } from 'node:crypto'
import type { Command } from 'commander'
import type { RunResult, TimelinePoint } from '../contract/run-result.ts'
import { systemClock } from '../kit/clock.ts'
import type { LoadOptions } from '../lab/load/options.ts'
import { readBuild } from './build.ts'
import { FlagReader, oneOf } from './flag-reader.ts'
import type { CommandHost } from './host.ts'
import { arrivalKinds, readLoadOptions, type LoadFlags } from './load-options.ts'

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
    .option('-o, --output <format>', 'text or json', 'text')
    .action((urls: string[], flags: LoadFlags & { output: string }) => load(host, urls, flags))
}

const load = async (host: CommandHost, urls: string[], given: LoadFlags & { output: string }): Promise<void> => {
  const flags = new FlagReader()
  const output = flags.read('--output', given.output, oneOf(['text', 'json']), 'one of text, json')
  const options = readLoadOptions(flags, urls, given, () => randomInt(2 ** 32))
  flags.check()
  const result = await run(host, options)
  const { describeRun } = await import('../lab/load/text.ts')
  host.stdout.write(output === 'json' ? `${JSON.stringify(result, null, 2)}\n` : describeRun(result))
  host.setExitCode(exitCodeOf(result))
}

/** Loads the lab only now: its libraries would slow the start of every other command. */
const run = async (host: CommandHost, options: LoadOptions): Promise<RunResult> => {
  const { httpTransport } = await import('../lab/load/http.ts')
  const { runLoad } = await import('../lab/load/run.ts')
  const { describeSecond } = await import('../lab/load/text.ts')
  const tool = readBuild(host.env)
  const transport = httpTransport({ ...options, headers: withUserAgent(options.headers, tool) })
  const progress = progressTo(host.stderr, describeSecond)
  try {
    const identity = { id: randomUUID(), tool, startedAt: new Date() }
    const deps = { clock: systemClock, transport, signal: host.signal, onSecond: progress.show }
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
