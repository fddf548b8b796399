import type { Arrivals } from '../../contract/run-result.ts'
import type { Slo } from './slo.ts'

/** What a load run does. All fields have been checked. */
export type LoadOptions = {
  /** `http://` URLs, used in turn. */
  readonly targets: readonly string[]
  readonly method: string
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body: Buffer | undefined
  /** Arrivals per second over all targets, not what is waited for. */
  readonly ratePerSecond: number
  /** Measured time, after the warm-up. */
  readonly durationMs: number
  /** Load that is sent first and not measured. */
  readonly warmupMs: number
  readonly arrivals: Arrivals
  /** Decides every random choice. */
  readonly seed: number
  /** From the actual send to the last byte of the answer. */
  readonly timeoutMs: number
  /** Bounds the sockets; arrivals beyond it are counted as missed. */
  readonly maxInFlight: number
  /** Connections per target that are opened before one is used again; more are opened when all are busy. */
  readonly connections: number
  readonly slos: readonly Slo[]
}
