import pino, { type Logger } from 'pino'
import type { Config } from '../config.ts'
import { secretsOf } from '../secrets.ts'
import { describeError } from './log-error.ts'
import { redactLine } from './log-redaction.ts'

export type LogOptions = {
  readonly config: Config
  /** Which process writes; see `Identity.name`. */
  readonly instance: string
  /** Takes lines that end with a line feed. */
  readonly output: { write(line: string): void }
}

/**
 * Makes the log of a process: a JSON object for each line, with `level` as a word, `time` in ms since 1970, `instance` and
 * `msg`. No secret of the configuration comes out of it, nor anything of an error but what `describeError` lets through.
 */
export const createLog = ({ config, instance, output }: LogOptions): Logger =>
  pino(
    {
      level: config.logLevel,
      base: { instance },
      formatters: { level: (level) => ({ level }) },
      serializers: { err: (thrown: unknown) => describeError(thrown) },
      hooks: { streamWrite: redactLine(secretsOf(config)) },
    },
    output,
  )
