import { constants, fstatSync, openSync, writeSync } from 'node:fs'
import type { Clock } from '../../kit/timers.ts'

export type LogOutputOptions = {
  readonly clock: Clock
  /** Writes what it can at once, without waiting, and returns how many bytes that were; throws as `fs.writeSync` does. */
  readonly write: (bytes: Buffer) => number
  /** Stops the whole process for so long; only `end` does that. Default: `Atomics.wait`. */
  readonly sleep?: (ms: number) => void
  /** Told when what waited has been written, of the lines that were dropped meanwhile. */
  readonly onDropped?: (lines: number) => void
}

/** How long a line may wait for others to be written with. SIGKILL loses what waits. */
const flushMs = 20
/** POSIX's least PIPE_BUF on Linux: so much is written to a pipe whole or not at all, whoever else writes to it. */
const pieceBytes = 4_096
/** What may wait for a reader that does not read: some thousand lines. */
const mostBytes = 1_048_576
const firstRetryMs = 5
const longestRetryMs = 100

/**
 * Where log lines go: to a file descriptor, some at a time and a little later, without ever waiting for who reads it.
 *
 * Lines gather in the open piece, which is closed when it is full or `flushMs` old. Closed pieces are written at once, in
 * their order. The output is: flowing (no closed piece is left), stuck (the reader does not take more: the first of them is
 * tried again until it does; lines for which there is no room are dropped and counted), or gone (there is no reader any
 * more: all lines are dropped and counted).
 *
 * pino's own SonicBoom was tried for this: at the end of a process it left out what it had begun to write (14 of 2,000 lines
 * to a slow reader), and with a reader that is stuck it never came to an end.
 */
export class LogOutput {
  /** Lines that were not written and will not be. */
  dropped = 0
  readonly #options: LogOutputOptions
  #open = ''
  #openBytes = 0
  readonly #closed: Buffer[] = []
  /** Of the open piece and the closed ones. */
  #bytes = 0
  /** Until the next try; 0 while it flows. */
  #retryMs = 0
  #gone = false
  #timer: unknown = undefined
  #droppedSaid = 0

  constructor(options: LogOutputOptions) {
    this.#options = options
  }

  /** Takes a line that ends with a line feed. */
  write(line: string): void {
    const bytes = Buffer.byteLength(line)
    if (this.#gone || this.#bytes + bytes > mostBytes) {
      this.dropped++
      return
    }
    if (this.#openBytes + bytes > pieceBytes) this.#close()
    this.#open += line
    this.#openBytes += bytes
    this.#bytes += bytes
    if (this.#closed.length > 0 && this.#retryMs === 0) this.#writeClosed()
    else this.#later(flushMs)
  }

  /** Writes what waits, if need be for so long: for the end of a process, when nothing can be done later. */
  end(withinMs: number): void {
    const { sleep = sleepSync } = this.#options
    this.#flush()
    for (let waitedMs = 0; this.#closed.length > 0 && waitedMs < withinMs; waitedMs += firstRetryMs) {
      sleep(firstRetryMs)
      this.#flush()
    }
  }

  readonly #flush = (): void => {
    if (this.#timer !== undefined) this.#options.clock.clearTimeout(this.#timer as never)
    this.#timer = undefined
    this.#close()
    this.#writeClosed()
  }

  #close(): void {
    if (this.#openBytes === 0) return
    this.#closed.push(Buffer.from(this.#open))
    this.#open = ''
    this.#openBytes = 0
  }

  #writeClosed(): void {
    try {
      while (this.#closed.length > 0) this.#writeFirst(this.#closed[0]!)
    } catch (error) {
      return this.#failed((error as NodeJS.ErrnoException).code)
    }
    this.#retryMs = 0
    if (this.#openBytes > 0) this.#later(flushMs)
    this.#sayDropped()
  }

  #writeFirst(piece: Buffer): void {
    const written = this.#options.write(piece)
    this.#bytes -= written
    if (written < piece.length) this.#closed[0] = piece.subarray(written)
    else this.#closed.shift()
  }

  #failed(code: string | undefined): void {
    if (code === undefined || !passing.has(code)) return this.#lose()
    this.#retryMs = Math.min(longestRetryMs, Math.max(firstRetryMs, this.#retryMs * 2))
    this.#later(this.#retryMs)
  }

  #lose(): void {
    this.#gone = true
    this.#close()
    this.dropped += this.#closed.reduce((lines, piece) => lines + linesIn(piece), 0)
    this.#closed.length = 0
    this.#bytes = 0
  }

  #later(ms: number): void {
    this.#timer ??= this.#options.clock.setTimeout(this.#flush, ms)
  }

  #sayDropped(): void {
    const lines = this.dropped - this.#droppedSaid
    if (lines === 0) return
    this.#droppedSaid = this.dropped
    this.#options.onDropped?.(lines)
  }
}

/** Failures that may pass: a pipe that is full, a disk that is. */
const passing = new Set(['EAGAIN', 'EBUSY', 'ENOSPC', 'EDQUOT'])

const lineFeed = 10

const linesIn = (piece: Buffer): number => {
  let lines = 0
  for (let at = piece.indexOf(lineFeed); at !== -1; at = piece.indexOf(lineFeed, at + 1)) lines++
  return lines
}

const sleepSync = (ms: number): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)

/**
 * Writes to a file descriptor without waiting. A pipe or terminal is opened once more for that: whether writing waits is a
 * property that a descriptor shares with all processes that inherited it, and starting a worker changes it. Where that
 * cannot be (no /proc, a socket), the descriptor is used as it is.
 */
export const writerTo = (fd: number): ((bytes: Buffer) => number) => {
  const own = reopened(fd)
  return (bytes) => writeSync(own, bytes)
}

const reopened = (fd: number): number => {
  try {
    const stat = fstatSync(fd)
    if (!stat.isFIFO() && !stat.isCharacterDevice()) return fd
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
  } catch {
    return fd
  }
}
