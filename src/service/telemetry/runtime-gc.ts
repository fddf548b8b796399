import { bounds } from '../../contract/metrics.ts'
import { Buckets } from '../../kit/metrics.ts'
import type { Collected } from './collect.ts'

/** What V8 calls its collections (GCType in v8-callbacks.h), in the words of the semantic conventions. */
const types: Readonly<Record<number, string>> = { 1: 'minor', 2: 'minor', 4: 'major', 8: 'incremental', 16: 'weakcb' }

type GcEntry = PerformanceEntry & { readonly detail: { readonly kind: number } }

/** How long garbage collections took, by type. Those before `start` are not known. */
export class GcMetrics implements Disposable {
  readonly #worker: number
  readonly #durations = new Map<string, Buckets>()
  #observer: PerformanceObserver | undefined

  constructor(worker: number) {
    this.#worker = worker
    // Told from the start, also while there was none: what first shows up with a value seems not to have risen.
    for (const type of new Set(Object.values(types))) this.#durations.set(type, new Buckets(bounds.gc))
  }

  start(): void {
    this.#observer = new PerformanceObserver((list) => {
      for (const entry of list.getEntries() as GcEntry[]) this.observe(entry.detail.kind, entry.duration)
    })
    this.#observer.observe({ entryTypes: ['gc'] })
  }

  observe(kind: number, durationMs: number): void {
    this.#durations.get(types[kind]!)?.observe(durationMs / 1_000)
  }

  [Symbol.dispose](): void {
    this.#observer?.disconnect()
  }

  collect(): Collected {
    return {
      v8js_gc_duration_seconds: Array.from(this.#durations, ([type, durations]) =>
        durations.samples('v8js_gc_duration_seconds', { v8js_gc_type: type, worker: this.#worker }),
      ).flat(),
    }
  }
}
