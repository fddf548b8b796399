/** A Redis server of a test's own, that can be stopped, started again and made to hang. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hasProgram, requirement } from './requirement.ts'

/** For the `skip` option of tests that need it. */
export const withoutRedis = requirement('redis-server', hasProgram('redis-server'))

export type TestValkey = AsyncDisposable & {
  readonly url: string
  readonly port: number
  /** Ends it at once: its connections are reset, new ones refused. What it knew is gone. */
  readonly stop: () => Promise<void>
  /** Starts it again on the same port. */
  readonly start: () => Promise<void>
  /** It takes connections and bytes, and answers nothing. */
  readonly hang: () => void
  /** It answers again, first what it has received meanwhile. */
  readonly resume: () => void
}

/** Starts a server on a free port of 127.0.0.1 that keeps nothing on disk. Returns when it listens. */
export const startValkey = async (): Promise<TestValkey> => {
  const folder = await mkdtemp(join(tmpdir(), 'plimsoll-valkey-'))
  const port = await freePort()
  let server: ChildProcess | undefined
  const start = async (): Promise<void> => {
    server = await startServer(port, folder)
  }
  const stop = async (): Promise<void> => {
    if (server?.exitCode !== null || server.signalCode !== null) return
    server.kill('SIGKILL')
    await once(server, 'exit')
  }
  const dispose = async (): Promise<void> => {
    await stop()
    await rm(folder, { recursive: true, force: true })
  }
  await start()
  const hang = (): void => void server?.kill('SIGSTOP')
  const resume = (): void => void server?.kill('SIGCONT')
  return { url: `redis://127.0.0.1:${port}`, port, start, stop, hang, resume, [Symbol.asyncDispose]: dispose }
}

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

const startServer = async (port: number, folder: string): Promise<ChildProcess> => {
  const settings = { port, bind: '127.0.0.1', dir: folder, appendonly: 'no' }
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)])
  const server = spawn('redis-server', [...args, '--save', ''], { stdio: ['ignore', 'pipe', 'inherit'] })
  for await (const bytes of server.stdout.iterator({ destroyOnReturn: false })) {
    if (String(bytes).includes('Ready to accept connections')) {
      server.stdout.resume()
      return server
    }
  }
  throw new Error(`redis-server ended before it listened on port ${port}`)
}
