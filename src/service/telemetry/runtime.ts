import type { Clock } from '../../kit/timers.ts'
import { type Collected, single } from './collect.ts'
import { GcMetrics } from './runtime-gc.ts'
import { LoopMetrics } from './runtime-loop.ts'
import { collectProcess } from './runtime-process.ts'

export type RuntimeMetricsOptions = { readonly worker: number; readonly clock: Clock }

/** Event loop, heap, garbage collections and process. It watches from `start`, until it is disposed of. */
export class RuntimeMetrics implements Disposable {
  readonly #worker: number
  readonly #loop: LoopMetrics
  readonly #gc: GcMetrics

  constructor(options: RuntimeMetricsOptions) {
    this.#worker = options.worker
    this.#loop = new LoopMetrics(options)
    this.#gc = new GcMetrics(options.worker)
  }

  start(): void {
    this.#loop.start()
    this.#gc.start()
  }

  [Symbol.dispose](): void {
    this.#loop[Symbol.dispose]()
    this.#gc[Symbol.dispose]()
  }

  async collect(): Promise<Collected> {
    const worker = this.#worker
    const { getHeapStatistics } = await import('node:v8')
    const heap = getHeapStatistics()
    return {
      ...this.#loop.collect(),
      ...this.#gc.collect(),
      ...(await collectProcess(worker)),
      v8js_memory_heap_used_bytes: single(heap.used_heap_size, { worker }),
      v8js_memory_heap_limit_bytes: single(heap.heap_size_limit, { worker }),
    }
  }
}
