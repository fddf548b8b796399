import { isIP } from 'node:net'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { parseWhole } from '../kit/units.ts'
import type { CommandLine } from '../lab/fleet/replica.ts'
import type { UpOptions } from '../lab/fleet/up.ts'
import { FlagReader, within } from './flag-reader.ts'
import type { CommandHost } from './host.ts'

/** The flags of `plimsoll up` as they were typed. */
export type UpFlags = Readonly<{ replicas: string; port: string; host: string; databasePort: string; data: string }>

/** Adds `plimsoll up`. */
export const addUpCommand = (program: Command, host: CommandHost): void => {
  program
    .command('up')
    .summary('start a database and some replicas of the service on this machine')
    .description(
      'Starts PostgreSQL (its binaries come with the installation), brings its schema up to date, starts replicas of\n' +
        'the service, and runs until Ctrl-C, which drains and stops all of it. With DATABASE_URL set, that database\n' +
        'is used instead.',
    )
    .option('--replicas <n>', 'service processes to start', '2')
    .option('--port <port>', 'first port to serve on; ports in use are stepped over', '8080')
    .option('--host <address>', 'address to serve on; 0.0.0.0 opens the service to the network', '127.0.0.1')
    .option('--database-port <port>', 'first port to try for PostgreSQL', '5433')
    .option('--data <folder>', 'where PostgreSQL keeps its data between starts', '.plimsoll/postgres')
    .action((flags: UpFlags) => up(host, flags))
}

const up = async (host: CommandHost, given: UpFlags): Promise<void> => {
  const flags = new FlagReader()
  const options = readUpOptions(flags, given)
  flags.check()
  const { describeUp, runUp } = await import('../lab/fleet/up.ts')
  await runUp({
    ...options,
    command: thisProgram(),
    env: host.env,
    signal: host.signal,
    note: (text) => host.stderr.write(`${text}\n`),
    onReady: (running) => host.stdout.write(describeUp(running, process.cwd())),
  })
}

/** Turns flags into options and notes every mistake in `flags`; with one, what is returned must not be used. */
export const readUpOptions = (
  flags: FlagReader,
  given: UpFlags,
): Pick<UpOptions, 'replicas' | 'port' | 'host' | 'databasePort' | 'dataDir'> => {
  const count = (field: string, text: string, most: number): number =>
    flags.read(field, text, within(1, most, parseWhole), `a whole number from 1 to ${most}`)
  return {
    replicas: count('--replicas', given.replicas, 64),
    port: count('--port', given.port, 65_535),
    host: flags.read('--host', given.host, parseAddress, 'an IP address of this machine'),
    databasePort: count('--database-port', given.databasePort, 65_535),
    dataDir: flags.read('--data', given.data, parseFolder, 'a folder'),
  }
}

const parseAddress = (text: string): string | undefined => (isIP(text) === 0 ? undefined : text)

const parseFolder = (text: string): string | undefined => (text === '' ? undefined : resolve(text))

const thisProgram = (): CommandLine => [process.execPath, ...process.argv.slice(1, 2)]
