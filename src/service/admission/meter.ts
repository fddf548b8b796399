import { bounds } from '../../contract/metrics.ts'
import { Buckets, Level } from '../../kit/metrics.ts'

/** What is measured of admission, beside what it counts anyway. Times are those that it has looked at for itself. */
export class AdmissionMeter {
  /** Requests whose handlers are at work. */
  readonly inFlight = new Level()
  readonly queued = new Level()
  /** How long those waited that had to, admitted in the end or not; in seconds. */
  readonly waits = new Buckets(bounds.wait)

  /** One that waited since then waits no longer. */
  waited(sinceMs: number, nowMs: number): void {
    this.queued.remove(nowMs)
    this.waits.observe((nowMs - sinceMs) / 1_000)
  }
}
