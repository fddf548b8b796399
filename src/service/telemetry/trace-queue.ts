import type { Trace } from '../../kit/trace.ts'

/** Spans that may wait: some seconds of a busy service at 10 % sampling, about 13 MB. */
const mostWaiting = 16_384

/** Traces that are complete and wait to be exported. What finds no room is dropped and counted. */
export class TraceQueue {
  /** Told when a trace has come to a queue that was empty. */
  onFirst: () => void = () => {}
  /** Spans that found no room. */
  dropped = 0
  #traces: Trace[] = []
  #spans = 0

  /** How many spans wait. */
  get spans(): number {
    return this.#spans
  }

  /** How many more may come. */
  get room(): number {
    return mostWaiting - this.#spans
  }

  add(trace: Trace): void {
    const spans = spansOf(trace)
    if (this.#spans + spans > mostWaiting) {
      this.dropped += spans
      return
    }
    this.#spans += spans
    this.#traces.push(trace)
    if (this.#traces.length === 1) this.onFirst()
  }

  /** Takes the oldest traces out, of together about this many spans; at least one where there is one. */
  take(spans: number): readonly Trace[] {
    let end = 0
    let taken = 0
    while (end < this.#traces.length && (end === 0 || taken + spansOf(this.#traces[end]!) <= spans)) {
      taken += spansOf(this.#traces[end++]!)
    }
    this.#spans -= taken
    return this.#traces.splice(0, end)
  }
}

const spansOf = ({ spans }: Trace): number => 1 + spans.length
