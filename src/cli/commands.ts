import { Command, CommanderError } from 'commander'
import { InputError } from '../kit/errors.ts'
import { readRelease } from './build.ts'
import type { CommandHost } from './host.ts'

type AddCommand = (program: Command, host: CommandHost) => void

/** Each command, loaded only when it is the one to run: `serve` must not wait for what `load` needs. */
const commands: Readonly<Record<string, () => Promise<AddCommand>>> = {
  up: async () => (await import('./up.ts')).addUpCommand,
  serve: async () => (await import('./serve.ts')).addServeCommand,
  migrate: async () => (await import('./migrate.ts')).addMigrateCommand,
  load: async () => (await import('./load.ts')).addLoadCommand,
  observability: async () => (await import('./observability.ts')).addObservabilityCommand,
}

const failed = 1
const misused = 2

/** Runs one command line, without the program's name. Tells errors on stderr and sets the exit code. */
export const runCommand = async (args: readonly string[], host: CommandHost): Promise<void> => {
  const program = await programFor(args[0], host)
  try {
    await program.parseAsync(args, { from: 'user' })
  } catch (error) {
    host.setExitCode(exitCodeOf(error))
    if (!(error instanceof CommanderError)) host.stderr.write(`${told(error)}\n`)
  }
}

const programFor = async (name: string | undefined, host: CommandHost): Promise<Command> => {
  const program = new Command('plimsoll')
    .description('How much traffic a service carries safely, how many replicas it needs, and what its HPA will do.')
    .version(readRelease().version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void host.stdout.write(text),
      writeErr: (text) => void host.stderr.write(text),
    })
  const wanted = name !== undefined && Object.hasOwn(commands, name) ? [commands[name]!] : Object.values(commands)
  for (const add of await Promise.all(wanted.map((load) => load()))) add(program, host)
  return program
}

const exitCodeOf = (error: unknown): number => {
  // Help and version that were asked for end with 0, Commander's own complaints are about usage.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : misused
  return error instanceof InputError ? misused : failed
}

const told = (error: unknown): string => {
  if (error instanceof InputError) return error.message
  return error instanceof Error ? `plimsoll: ${error.message}` : String(error)
}
