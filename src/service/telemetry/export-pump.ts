import { mostSpans, type Trace } from '../../kit/trace.ts'
import type { Clock } from '../../kit/timers.ts'
import type { TraceQueue } from './trace-queue.ts'

export type PumpOptions = {
  readonly queue: TraceQueue
  readonly clock: Clock
  /** Spans that may be handed over and not settled, together; a trace that has begun to fit may exceed it. */
  readonly capacity: number
  /** Takes all spans of these traces. */
  readonly handOver: (traces: readonly Trace[]) => void
}

/** How much more than its capacity a pump may have handed over. */
export const mostExcess = mostSpans

/** Between a trace that comes to an empty queue and the first slice: so many are handed over in one go. */
const gatherMs = 50
/** A slice keeps requests waiting: so many spans at once, and no more of them after so long. */
const spansAtOnce = 64
const sliceMs = 1

/**
 * Hands traces over from the queue to the SDK, in slices beside the requests, and never more than there is room for: what
 * finds none waits in the queue, which counts what it must drop.
 *
 * It is `idle` while the queue is empty (a trace that comes starts a timer), `timed` while a slice is due, `full` until
 * enough is settled, and `stopped` for ever. `#unsettled` is what was handed over and is neither exported nor failed.
 */
export class TracePump {
  readonly #options: PumpOptions
  #state: 'idle' | 'timed' | 'full' | 'stopped' = 'idle'
  #unsettled = 0
  #onSettled: () => void = () => {}

  constructor(options: PumpOptions) {
    this.#options = options
    options.queue.onFirst = () => this.#wake('idle', gatherMs)
    if (options.queue.spans > 0) this.#wake('idle', 0)
  }

  get unsettled(): number {
    return this.#unsettled
  }

  /** So many spans have been exported, or have failed. */
  settle(spans: number): void {
    this.#unsettled -= spans
    if (this.#unsettled === 0) this.#onSettled()
    if (this.#room() > 0) this.#wake('full', 0)
  }

  get stopped(): boolean {
    return this.#state === 'stopped'
  }

  /** Nothing is handed over any more. */
  stop(): void {
    this.#state = 'stopped'
  }

  /** Hands over, now, what there is room for. */
  push(): void {
    while (!this.stopped && this.#options.queue.spans > 0 && this.#room() > 0) this.#next()
  }

  /** Resolves when all that was handed over is settled. */
  settled(): Promise<void> {
    return new Promise((resolve) => {
      this.#onSettled = resolve
      if (this.#unsettled === 0) resolve()
    })
  }

  #room(): number {
    return this.#options.capacity - this.#unsettled
  }

  #wake(from: 'idle' | 'full', inMs: number): void {
    if (this.#state !== from) return
    this.#state = 'timed'
    this.#options.clock.setTimeout(() => this.#slice(), inMs)
  }

  #slice(): void {
    if (this.#state === 'stopped') return
    const { queue, clock } = this.#options
    const untilMs = clock.now() + sliceMs
    while (queue.spans > 0 && this.#room() > 0 && clock.now() <= untilMs) this.#next()
    this.#state = queue.spans === 0 ? 'idle' : 'full'
    if (this.#room() > 0) this.#wake('full', 0)
  }

  #next(): void {
    const { queue, handOver } = this.#options
    const before = queue.spans
    const traces = queue.take(Math.min(spansAtOnce, this.#room()))
    this.#unsettled += before - queue.spans
    handOver(traces)
  }
}
