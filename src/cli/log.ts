import type { Logger } from 'pino'
import { processClock } from '../kit/timers.ts'
import type { Config } from '../service/config.ts'
import { createLog } from '../service/telemetry/log.ts'
import { LogOutput, writerTo } from '../service/telemetry/log-output.ts'

/** How long the end of the process may wait for who reads its log. */
const endMs = 500

export type ProcessLog = {
  readonly log: Logger
  /** Lines that nobody took, and for which there was no more room. */
  readonly linesDropped: () => number
}

/**
 * Opens the log of this process on stdout. Whatever ends the process but SIGKILL, its last lines are written; an error
 * that nobody caught is one of them, and then `exit` is called.
 */
export const openLog = (config: Config, instance: string, exit: (code: number) => void): ProcessLog => {
  const output: LogOutput = new LogOutput({
    clock,
    write: writerTo(1),
    onDropped: (lines) => log.warn({ lines }, 'log lines were dropped: nobody read them'),
  })
  const log = createLog({ config, instance, output })
  process.on('exit', () => output.end(endMs))
  // Node's own way to tell of it shows all that hangs on the error.
  process.on('uncaughtException', (err) => {
    log.fatal({ err }, 'the process ends: an error that nobody caught')
    exit(1)
  })
  return { log, linesDropped: () => output.dropped }
}

/** No line that waits keeps the process from its end. */
const clock = { ...processClock, setTimeout: (callback: () => void, ms: number) => setTimeout(callback, ms).unref() }
