import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { localEnv } from './env.ts'

const entry = fileURLToPath(new URL('../../src/main.ts', import.meta.url))

/** A `plimsoll serve` of its own, with what it logged so far. */
export type Serving = AsyncDisposable & {
  readonly process: ChildProcess
  readonly url: string
  readonly adminUrl: string
  readonly log: readonly Record<string, unknown>[]
  /** What it wrote to stderr so far; shown on that of the test, too. */
  readonly stderr: () => string
  /** Resolves with the exit code, or the signal's name, once it is gone. */
  readonly exit: Promise<number | string>
}

/** What a command that ends by itself left behind. */
export type Finished = { readonly code: number | null; readonly stdout: string; readonly stderr: string }

/** Runs `plimsoll ARGS` from the sources to its end, or until SIGTERM after so many ms. */
export const runCli = async (
  args: readonly string[],
  env: Record<string, string> = {},
  timeoutMs?: number,
): Promise<Finished> => {
  const options = { env: { ...process.env, ...env }, ...(timeoutMs !== undefined && { timeout: timeoutMs }) }
  const child = spawn(process.execPath, [entry, ...args], options)
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (bytes: Buffer) => (stdout += bytes.toString()))
  child.stderr.on('data', (bytes: Buffer) => (stderr += bytes.toString()))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stdout, stderr }
}

/** Starts `plimsoll serve ARGS` from the sources on free ports; returns when both of its ports listen. */
export const serve = async (args: readonly string[], env: Record<string, string> = {}): Promise<Serving> => {
  const child = spawn(process.execPath, [entry, 'serve', ...args], {
    env: { ...process.env, ...localEnv, INSTANCE: 'e2e', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stderr = ''
  child.stderr.on('data', (bytes: Buffer) => {
    stderr += bytes.toString()
    process.stderr.write(bytes)
  })
  const exit = once(child, 'exit').then(([code, signal]) => (code ?? signal) as number | string)
  const log: Record<string, unknown>[] = []
  const port = (message: string): unknown => log.find(({ msg }) => msg === message)?.['port']
  const listening = new Promise<void>((resolve, reject) => {
    createInterface(child.stdout).on('line', (line) => {
      log.push(JSON.parse(line) as Record<string, unknown>)
      if (port('listening') !== undefined && port('admin listening') !== undefined) resolve()
    })
    void exit.then((code) => reject(new Error(`serve ended with ${code}`)))
  })
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL')
    await exit
  }
  await listening.catch(async (error: unknown) => {
    await stop()
    throw error
  })
  return {
    process: child,
    url: `http://127.0.0.1:${String(port('listening'))}`,
    adminUrl: `http://127.0.0.1:${String(port('admin listening'))}`,
    log,
    stderr: () => stderr,
    exit,
    [Symbol.asyncDispose]: stop,
  }
}
