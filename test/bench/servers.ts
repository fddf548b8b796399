/** Starting and stopping the servers under test, each pinned to its core. */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, readFileSync, statSync, truncateSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { serverCore } from './machine.ts'
import { root } from './rows.ts'
import type { Server, ServerName } from './rows.ts'

const host = '127.0.0.1'
const startTimeoutMs = 30_000
const stopTimeoutMs = 15_000
const retryMs = 1

const logFolder = `${root}.plimsoll/bench/logs`
const logOf = (name: ServerName) => `${logFolder}/${name}.log`

/** A server that has been spawned; `spawnedAt` is in milliseconds of `performance.now()`. */
export type Spawned = {
  readonly name: ServerName
  readonly pid: number
  readonly port: number
  readonly origin: string
  readonly spawnedAt: number
  readonly child: ChildProcess
}

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, host)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** What the bench sets for each server itself, or leaves at its default: it must not come from who runs the bench. */
const ownKnobs = /^(OTEL_|TELEMETRY$|LOG_LEVEL$)/

const inherited = (): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => !ownKnobs.test(name)))

const environmentOf = (port: number, adminPort: number, databaseUrl: string): NodeJS.ProcessEnv => ({
  ...inherited(),
  NODE_ENV: 'production',
  HOST: host,
  PORT: String(port),
  ADMIN_PORT: String(adminPort),
  INSTANCE: 'bench',
  WORKERS: '1',
  DATABASE_URL: databaseUrl,
})

/** Spawns a server pinned to its core, without waiting for it. `taskset` becomes the server: one process, one pid. */
export const spawnServer = async (server: Server, databaseUrl: string): Promise<Spawned> => {
  const port = await freePort()
  const env = { ...environmentOf(port, await freePort(), databaseUrl), ...server.env }
  mkdirSync(logFolder, { recursive: true })
  const log = openSync(logOf(server.name), 'w')
  const spawnedAt = performance.now()
  const child = spawn('taskset', ['--cpu-list', serverCore, ...server.command], { env, stdio: ['ignore', log, log] })
  closeSync(log)
  await once(child, 'spawn')
  return { name: server.name, pid: child.pid!, port, origin: `http://${host}:${port}`, spawnedAt, child }
}

/** One try to get a 200, over a connection of its own. */
const answersOk = (port: number, path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, host)
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}:${port}\r\nConnection: close\r\n\r\n`)
    socket.once('data', (head) => {
      resolve(String(head).startsWith('HTTP/1.1 200'))
      socket.destroy()
    })
    socket.once('error', () => resolve(false))
    socket.once('close', () => resolve(false))
  })

const hasExited = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null

/** Milliseconds from spawn to the first 200, tried again every millisecond. Throws with the log when none comes. */
export const firstAnswerMs = async ({ name, child, port, spawnedAt }: Spawned, path: string): Promise<number> => {
  while (!hasExited(child) && performance.now() - spawnedAt < startTimeoutMs) {
    if (await answersOk(port, path)) return performance.now() - spawnedAt
    await sleep(retryMs)
  }
  throw new Error(
    `${name} did not answer ${path} with 200; its log:\n${readFileSync(logOf(name), 'utf8').slice(-2000)}`,
  )
}

export const startServer = async (server: Server, databaseUrl: string): Promise<Spawned> => {
  const spawned = await spawnServer(server, databaseUrl)
  try {
    await firstAnswerMs(spawned, '/json')
    return spawned
  } catch (error) {
    await killServer(spawned)
    throw error
  }
}

export const killServer = async ({ child, name }: Spawned): Promise<void> => {
  if (hasExited(child)) return
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
  shorten(logOf(name))
}

const longestLogBytes = 1_000_000

/** Lines of all traced requests are hundreds of megabytes, and nobody reads them any more. */
const shorten = (log: string): void => {
  if (statSync(log).size > longestLogBytes) truncateSync(log, longestLogBytes)
}

/** Lets a server end by itself, so that it keeps what it keeps between starts; kills it when it takes too long. */
export const stopServer = async (spawned: Spawned): Promise<void> => {
  if (hasExited(spawned.child)) return
  const exit = once(spawned.child, 'exit')
  spawned.child.kill('SIGTERM')
  await Promise.race([exit, sleep(stopTimeoutMs, undefined, { ref: false })])
  await killServer(spawned)
}
