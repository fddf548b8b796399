#!/usr/bin/env node
import { enableCompileCache } from 'node:module'
import { constants } from 'node:os'
import type { CommandHost } from './cli/host.ts'

// Compiled code is kept between starts. It must be on before the modules that profit are loaded: hence `import()`.
enableCompileCache()

type Signal = 'SIGINT' | 'SIGTERM'

const stopping = new AbortController()

/** One Ctrl-C can come twice, from the terminal and from npm, within this time. Nobody presses keys so fast. */
const sameSignalMs = 200
let stoppedAtMs = 0
// Node's own mark on the processes that its cluster module starts; to ask that module would load it.
const isWorker = process.env['NODE_UNIQUE_ID'] !== undefined

/** The first signal asks the command to end; a second one, from a person who will not wait, ends the process. */
const onSignal = (signal: Signal): void => {
  const again = stopping.signal.aborted && performance.now() - stoppedAtMs > sameSignalMs
  // A worker hears a terminal's Ctrl-C and its parent's order to drain: the same wish twice.
  if (again && !isWorker) process.exit(128 + constants.signals[signal])
  if (!stopping.signal.aborted) stoppedAtMs = performance.now()
  stopping.abort(signal)
}

process.on('SIGINT', onSignal)
process.on('SIGTERM', onSignal)
// Of a process that was started with a channel to its parent: without the parent it has nobody to work for.
process.on('disconnect', () => (stopping.signal.aborted ? process.exit(1) : stopping.abort('disconnect')))

let exitCode = 0
const host: CommandHost = {
  env: process.env,
  stdout: process.stdout,
  stderr: process.stderr,
  signal: stopping.signal,
  setExitCode: (code) => {
    exitCode = code
  },
  exit: (code) => process.exit(code),
}

const { runCommand } = await import('./cli/commands.ts')
await runCommand(process.argv.slice(2), host)
process.exit(exitCode)
