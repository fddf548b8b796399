import type { Clock } from '../../../src/kit/clock.ts'

/** Time that passes only when told to, from one wake-up to the next; those for the same time keep their order. */
export class VirtualClock implements Clock {
  /** Not 0, so that code which mistakes clock time for run time fails. */
  #nowMs = 1_000_000
  #wakes: { readonly atMs: number; readonly wake: () => void }[] = []

  now(): number {
    return this.#nowMs
  }

  wakeAt(atMs: number, wake: () => void): void {
    const index = this.#wakes.findLastIndex((other) => other.atMs <= atMs)
    this.#wakes.splice(index + 1, 0, { atMs, wake })
  }

  after(delayMs: number, wake: () => void): void {
    this.wakeAt(this.#nowMs + delayMs, wake)
  }

  /** The process gets no time for this long: wake-ups that fall into it come after it. */
  freeze(durationMs: number): void {
    this.#nowMs += durationMs
  }

  /** Lets time pass until nothing is waited for. */
  run(): void {
    for (let next = this.#wakes.shift(); next !== undefined; next = this.#wakes.shift()) {
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      next.wake()
    }
  }
}
