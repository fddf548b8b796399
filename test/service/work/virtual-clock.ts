import type { Clock } from '../../../src/kit/timers.ts'

type Timer = { readonly atMs: number; readonly callback: () => void }

/** A clock whose time passes only in `advance`, which lets promises settle between two timers. */
export class VirtualClock implements Clock {
  #nowMs = 0
  readonly #timers = new Set<Timer>()

  readonly now = (): number => this.#nowMs

  readonly setTimeout = (callback: () => void, ms: number): Timer => {
    const timer = { atMs: this.#nowMs + ms, callback }
    this.#timers.add(timer)
    return timer
  }

  readonly clearTimeout = (timer: Timer): void => {
    this.#timers.delete(timer)
  }

  get pending(): number {
    return this.#timers.size
  }

  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms
    await settle()
    for (let timer = this.#next(endMs); timer !== undefined; timer = this.#next(endMs)) {
      this.#nowMs = timer.atMs
      this.#timers.delete(timer)
      timer.callback()
      await settle()
    }
    this.#nowMs = endMs
    await settle()
  }

  #next(endMs: number): Timer | undefined {
    const due = [...this.#timers].filter((timer) => timer.atMs <= endMs)
    return due.toSorted((a, b) => a.atMs - b.atMs)[0]
  }
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
