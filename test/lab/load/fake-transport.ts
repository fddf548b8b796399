import type { Attempt, Reply, Transport } from '../../../src/lab/load/transport.ts'
import type { VirtualClock } from './virtual-clock.ts'

/** What a fake service does with a request: answer after a time, fail after a time, or never answer. */
export type Behaviour =
  | { readonly answerAfterMs: number; readonly status?: number; readonly instance?: string }
  | { readonly failAfterMs: number; readonly code: string }
  | 'silence'

export type FakeRequest = { readonly target: number; readonly sentMs: number; abandoned: boolean }

/** A service on a virtual clock. `behave` is asked with the ms since the clock stood at its start. */
export class FakeTransport implements Transport {
  readonly requests: FakeRequest[] = []
  readonly #clock: VirtualClock
  readonly #startMs: number
  readonly #behave: (request: FakeRequest) => Behaviour

  constructor(clock: VirtualClock, behave: (request: FakeRequest) => Behaviour) {
    this.#clock = clock
    this.#startMs = clock.now()
    this.#behave = behave
  }

  send(target: number, reply: Reply): Attempt {
    const request: FakeRequest = { target, sentMs: this.#clock.now() - this.#startMs, abandoned: false }
    this.requests.push(request)
    this.#plan(this.#behave(request), request, reply)
    return {
      abandon: () => {
        request.abandoned = true
      },
    }
  }

  async close(): Promise<void> {}

  #plan(behaviour: Behaviour, request: FakeRequest, reply: Reply): void {
    if (behaviour === 'silence') return
    const unlessAbandoned = (settle: () => void) => (): void => {
      if (!request.abandoned) settle()
    }
    if ('code' in behaviour) {
      this.#clock.after(
        behaviour.failAfterMs,
        unlessAbandoned(() => reply.failed(behaviour.code)),
      )
      return
    }
    const { answerAfterMs, status = 200, instance = '' } = behaviour
    const outcome = status < 400 ? 'ok' : 'httpError'
    this.#clock.after(
      answerAfterMs,
      unlessAbandoned(() => reply.answered(outcome, status, instance)),
    )
  }
}
