import type { RunResult, TimelinePoint } from '../../contract/run-result.ts'
import type { Clock } from '../../kit/clock.ts'
import { drive, type RunObserver } from './driver.ts'
import type { LoadOptions } from './options.ts'
import { Recorder } from './recorder.ts'
import { toRunResult, type RunIdentity } from './result.ts'
import { planArrivals } from './schedule.ts'
import type { Transport } from './transport.ts'

export type RunDeps = {
  readonly clock: Clock
  readonly transport: Transport
  /** Ends the run early, with the result of what was done. */
  readonly signal?: AbortSignal
  /** Is shown each second of the run when it is over. */
  readonly onSecond?: (point: TimelinePoint) => void
  /** Is told what the recorder is told. */
  readonly observer?: RunObserver
}

/** One load run: schedule, driver, recorder, result. It never rejects for what the service does. */
export const runLoad = async (
  identity: RunIdentity,
  options: LoadOptions,
  { clock, transport, signal, onSecond, observer }: RunDeps,
): Promise<RunResult> => {
  const endMs = options.warmupMs + options.durationMs
  const recorder = new Recorder({ warmupMs: options.warmupMs, endMs, ...(onSecond && { onSecond }) })
  const { interrupted } = await drive({
    schedule: planArrivals({ ...options, endMs }),
    endMs,
    transport,
    targets: options.targets.length,
    timeoutMs: options.timeoutMs,
    maxInFlight: options.maxInFlight,
    observer: observer === undefined ? recorder : both(recorder, observer),
    clock,
    ...(signal && { signal }),
  })
  recorder.close()
  return toRunResult(identity, options, recorder, interrupted)
}

const both = (one: RunObserver, other: RunObserver): RunObserver => ({
  sent(sample) {
    one.sent(sample)
    other.sent(sample)
  },
  ended(sample) {
    one.ended(sample)
    other.ended(sample)
  },
  missed(intendedMs) {
    one.missed(intendedMs)
    other.missed(intendedMs)
  },
  ticked(nowMs, lateMs) {
    one.ticked(nowMs, lateMs)
    other.ticked(nowMs, lateMs)
  },
  arrivalsEnded(atMs) {
    one.arrivalsEnded(atMs)
    other.arrivalsEnded(atMs)
  },
})
