import { resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Failure } from '../../kit/errors.ts'
import type { Fleet, ReplicaState, ReplicaStatus } from './fleet.ts'
import { findFreePort, isFree } from './ports.ts'
import { describeExit } from './processes.ts'
import { startReplica, type CommandLine, type Environment, type Replica } from './replica.ts'

export type LocalFleetOptions = {
  /** How Plimsoll is run: `[process.execPath, 'dist/main.js']`. */
  readonly command: CommandLine
  /**
   * Environment of every replica, `DATABASE_URL` among it. Unless set here, `DRAIN_DELAY_MS` is 0, and `UPLOADS` is
   * `.plimsoll/uploads` in the working directory.
   */
  readonly env: Environment
  /** How many replicas to start with. */
  readonly replicas: number
  /** Address to serve on. Default 127.0.0.1; `0.0.0.0` opens the replicas, not their admin ports, to the network. */
  readonly host?: string
  /** First port to serve on; each replica takes the next free one. Default 8080. */
  readonly port?: number
  /** First admin port, likewise. Default 9464. */
  readonly adminPort?: number
  readonly readyTimeoutMs?: number
  readonly stopTimeoutMs?: number
  /** How long to wait before a replica that ended by itself is started for the nth time since it last ran well. */
  readonly restartDelayMs?: (nth: number) => number
  /** Told of ports stepped over and of replicas that ended by themselves. */
  readonly note?: (text: string) => void
  /** Given every line that a replica writes, with the replica's name. */
  readonly onLine?: (line: string, name: string) => void
  /** Gives up starting. */
  readonly signal?: AbortSignal
}

/** Starts replicas as processes of this machine; resolves when all are ready. Throws as `Fleet.scaleTo` does. */
export const startLocalFleet = async (options: LocalFleetOptions): Promise<Fleet> => {
  await using fleet = new AsyncDisposableStack()
  const local = fleet.use(new LocalFleet(options))
  await local.scaleTo(options.replicas)
  fleet.move()
  return local
}

/** 250 ms, doubled for every failure in a row, up to 10 s. */
const doubling = (nth: number): number => Math.min(250 * 2 ** (nth - 1), 10_000)

const defaults = {
  host: '127.0.0.1',
  port: 8080,
  adminPort: 9464,
  restartDelayMs: doubling,
  note: () => {},
}

type Settings = LocalFleetOptions & Required<Pick<LocalFleetOptions, keyof typeof defaults>>

class LocalFleet implements Fleet {
  readonly #settings: Settings
  readonly #kept: KeptReplica[] = []
  /** Ports of the replicas in `#kept`, and of those being started. */
  readonly #reserved = new Set<number>()
  /** Settles with the last call of `scaleTo`; never rejects. */
  #scaling: Promise<unknown> = Promise.resolve()

  constructor(options: LocalFleetOptions) {
    // All replicas of a fleet have the same uploads, and those of this folder only.
    const env = { DRAIN_DELAY_MS: '0', UPLOADS: resolve('.plimsoll/uploads'), ...options.env }
    this.#settings = { ...defaults, ...options, env }
  }

  replicas(): readonly ReplicaStatus[] {
    return this.#kept.map((replica) => replica.status())
  }

  scaleTo(count: number): Promise<void> {
    const scaled = this.#scaling.then(() => this.#scaleTo(count))
    this.#scaling = scaled.catch(() => {})
    return scaled
  }

  stop(): Promise<void> {
    return this.scaleTo(0)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  async #scaleTo(count: number): Promise<void> {
    await Promise.all(this.#kept.splice(count).map((replica) => this.#release(replica)))
    const named: [string, Ports][] = []
    let after = this.#kept.at(-1)?.ports
    for (let number = this.#kept.length + 1; number <= count; number += 1) {
      after = await this.#takePorts(`local-${number}`, after)
      named.push([`local-${number}`, after])
    }
    await this.#startAll(named)
  }

  async #startAll(named: readonly [string, Ports][]): Promise<void> {
    const outcomes = await Promise.allSettled(named.map(([name, ports]) => this.#start(name, ports)))
    const started = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
    const failed = outcomes.find((outcome) => outcome.status === 'rejected')
    if (failed === undefined) {
      this.#kept.push(...started)
      return
    }
    await Promise.all(started.map((replica) => this.#release(replica)))
    throw failed.reason
  }

  async #release(replica: KeptReplica): Promise<void> {
    await replica.stop()
    for (const port of replica.ports) this.#reserved.delete(port)
  }

  async #start(name: string, ports: Ports): Promise<KeptReplica> {
    const replica = new KeptReplica(name, ports, this.#settings)
    try {
      await replica.start()
      return replica
    } catch (error) {
      await this.#release(replica)
      // It may have lost a race for a port; anything else is final.
      if (await this.#areFree(ports)) throw error
      return await this.#start(name, await this.#takePorts(name))
    }
  }

  async #takePorts(name: string, after?: Ports): Promise<Ports> {
    const { host, port, adminPort, note } = this.#settings
    const [first, firstAdmin] = after === undefined ? [port, adminPort] : [after[0] + 1, after[1] + 1]
    const common = { reserved: this.#reserved, note }
    return [
      await findFreePort({ ...common, purpose: name, first, host }),
      await findFreePort({ ...common, purpose: `the admin port of ${name}`, first: firstAdmin, host: '127.0.0.1' }),
    ]
  }

  async #areFree([port, adminPort]: Ports): Promise<boolean> {
    return (await isFree(port, this.#settings.host)) && (await isFree(adminPort, '127.0.0.1'))
  }
}

type Ports = readonly [port: number, adminPort: number]

/** A replica that ran this long ran well: its earlier failures no longer slow its next start. */
const ranWellMs = 30_000

/**
 * One replica that is started again, on the same ports, whenever it ends by itself.
 *
 *   starting --ready--> ready --ended--> down --delay--> starting
 *   starting --failed--> down            (a first start that fails rejects instead)
 *   any --stop()--> stopping: it drains, and stays down
 */
class KeptReplica {
  readonly ports: Ports
  readonly #name: string
  readonly #settings: Settings
  readonly #stopping = new AbortController()
  /** The running process; undefined while there is none that was ever ready. */
  #replica: Replica | undefined
  #state: ReplicaState = 'starting'
  /** Failures in a row since it last ran well. */
  #failures = 0
  /** Ends, and never rejects, some time after `#stopping` aborts. */
  #watching: Promise<void> = Promise.resolve()

  constructor(name: string, ports: Ports, settings: Settings) {
    this.#name = name
    this.ports = ports
    this.#settings = settings
  }

  status(): ReplicaStatus {
    const { host } = this.#settings
    const reachable = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host
    const [port, adminPort] = this.ports
    const url = `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`
    return { name: this.#name, url, adminUrl: `http://127.0.0.1:${adminPort}`, state: this.#state }
  }

  async start(): Promise<void> {
    await this.#launch()
    this.#watching = this.#watch()
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#replica?.stop()
    await this.#watching
  }

  async #launch(): Promise<void> {
    const { signal, onLine, ...settings } = this.#settings
    const [port, adminPort] = this.ports
    const signals = [this.#stopping.signal, ...(signal ? [signal] : [])]
    this.#state = 'starting'
    this.#replica = await startReplica({
      ...settings,
      name: this.#name,
      port,
      adminPort,
      ...(onLine && { onLine: (line) => onLine(line, this.#name) }),
      signal: AbortSignal.any(signals),
    })
    this.#state = 'ready'
  }

  async #watch(): Promise<void> {
    while (this.#replica !== undefined) {
      const readyAt = performance.now()
      const exit = await this.#replica.exited
      this.#replica = undefined
      if (this.#stopping.signal.aborted) return
      if (performance.now() - readyAt > ranWellMs) this.#failures = 0
      await this.#startAgain(`${this.#name} ${describeExit(exit)}`)
    }
  }

  /** Tries until it is ready, or `stop()` is called. */
  async #startAgain(what: string): Promise<void> {
    const { note, restartDelayMs } = this.#settings
    while (!this.#stopping.signal.aborted) {
      this.#state = 'down'
      const delayMs = restartDelayMs(++this.#failures)
      note(`${what}; starting it again in ${delayMs} ms`)
      try {
        await delay(delayMs, undefined, { signal: this.#stopping.signal })
        return await this.#launch()
      } catch (error) {
        what = error instanceof Failure ? error.message : String(error)
      }
    }
  }
}
