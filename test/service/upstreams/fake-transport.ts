import type { Outcome, Transport } from '../../../src/service/upstreams/transport.ts'
import type { VirtualClock } from '../work/virtual-clock.ts'

/** What the upstream will do with an attempt: this, after so long; undefined: nothing, ever. */
export type Play = { readonly afterMs: number; readonly outcome: Outcome } | undefined

/** One attempt as the upstream saw it. */
export type Seen = {
  readonly path: string
  readonly atMs: number
  readonly headers: Readonly<Record<string, string>>
  end: 'running' | 'landed' | 'aborted'
}

export const answer = (status: number, body = '{}', headers: Readonly<Record<string, string>> = {}): Outcome => ({
  kind: 'answer',
  status,
  headers,
  body: Buffer.from(body),
})

export const broken: Outcome = { kind: 'broken', code: 'ECONNRESET' }

/** Upstreams that do what `play` says, in virtual time. */
export class FakeTransport implements Transport {
  readonly seen: Seen[] = []
  closed = false
  readonly #clock: VirtualClock
  readonly #play: (attempt: Seen, nth: number) => Play

  /** `nth` counts the attempts from 1. */
  constructor(clock: VirtualClock, play: (attempt: Seen, nth: number) => Play) {
    this.#clock = clock
    this.#play = play
  }

  readonly get: Transport['get'] = ({ path }, flat, landed) => {
    const headers: Record<string, string> = {}
    for (let i = 0; i < flat.length; i += 2) headers[flat[i]!] = flat[i + 1]!
    const attempt: Seen = { path, atMs: this.#clock.now(), headers, end: 'running' }
    const play = this.#play(attempt, this.seen.push(attempt))
    const land = (): void => {
      attempt.end = 'landed'
      landed(play!.outcome)
    }
    const timer = play && this.#clock.setTimeout(land, play.afterMs)
    return (gone) => {
      if (attempt.end === 'running') attempt.end = 'aborted'
      if (timer !== undefined) this.#clock.clearTimeout(timer)
      gone()
    }
  }

  readonly close = (): Promise<void> => {
    this.closed = true
    return Promise.resolve()
  }

  get ends(): string[] {
    return this.seen.map(({ end }) => end)
  }
}
