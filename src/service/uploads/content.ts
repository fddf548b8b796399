import type { Hash } from 'node:crypto'
import { finished, type Readable } from 'node:stream'
import type { ProblemCode } from '../../contract/problems.ts'
import type { Cancellation } from '../../kit/cancellation.ts'
import { Failure } from '../../kit/errors.ts'
import { releaseMemory } from '../../kit/memory.ts'
import type { Clock } from '../../kit/timers.ts'

export type Patience = {
  /** How long nothing may come while something is waited for. */
  readonly idleTimeoutMs: number
  readonly cancellation: Cancellation
  readonly clock: Clock
}

/**
 * The bytes of a request as they are asked for: nothing is read ahead of who consumes them but the stream's own buffer.
 * A chunk is valid until the next is asked for; then its memory is freed.
 * Throws `request-timeout`, `client-closed-request`, or the reason of the cancellation, and leaves the stream open in
 * each case: a request whose stream is destroyed can no longer be answered.
 */
export async function* patiently(source: Readable, patience: Patience): AsyncGenerator<Buffer> {
  using waiting = new Waiting(source, patience)
  for (;;) {
    waiting.check()
    const chunk = source.read() as Buffer | null
    if (chunk !== null) {
      yield chunk
      releaseMemory(chunk)
    } else if (waiting.ended) return
    else await waiting.forMore()
  }
}

/** Knows why there is no more to read now: it comes later, it has ended, or it failed. */
class Waiting implements Disposable {
  ended = false
  #failure: unknown
  #wake = (): void => {}
  readonly #source: Readable
  readonly #patience: Patience
  readonly #unwatch: () => void
  readonly #onReadable = (): void => this.#wake()
  readonly #onAbort = (): void => this.#fail(this.#patience.cancellation.reason)

  constructor(source: Readable, patience: Patience) {
    this.#source = source
    this.#patience = patience
    if (patience.cancellation.aborted) this.#fail(patience.cancellation.reason)
    patience.cancellation.addEventListener('abort', this.#onAbort)
    source.on('readable', this.#onReadable)
    this.#unwatch = finished(source, { writable: false }, (error) => {
      if (error) return this.#fail(new Failure<ProblemCode>('client-closed-request', { cause: error }))
      this.ended = true
      this.#wake()
    })
  }

  check(): void {
    if (this.#failure !== undefined) throw this.#failure as Error
  }

  async forMore(): Promise<void> {
    const { idleTimeoutMs, clock } = this.#patience
    const late = (): void => {
      this.#fail(new Failure<ProblemCode>('request-timeout', { detail: `no byte came for ${idleTimeoutMs} ms` }))
    }
    const timer = clock.setTimeout(late, idleTimeoutMs)
    await new Promise<void>((wake) => {
      this.#wake = wake
    })
    clock.clearTimeout(timer as never)
  }

  [Symbol.dispose](): void {
    this.#patience.cancellation.removeEventListener('abort', this.#onAbort)
    this.#source.off('readable', this.#onReadable)
    this.#unwatch()
  }

  #fail(failure: unknown): void {
    this.#failure ??= failure
    this.#wake()
  }
}

/** Lets at most `mostBytes` pass; throws `body-too-large` at the first byte that is too many. */
export async function* atMost(content: AsyncIterable<Buffer>, mostBytes: number): AsyncGenerator<Buffer> {
  let bytes = 0
  for await (const chunk of content) {
    bytes += chunk.length
    if (bytes > mostBytes) throw tooLarge(mostBytes)
    yield chunk
  }
}

export const tooLarge = (mostBytes: number): Failure<ProblemCode> =>
  new Failure('body-too-large', { detail: `at most ${mostBytes} bytes are accepted` })

/** Counts and hashes content on its way to a storage, and remembers why it failed. */
export class Meter {
  bytes = 0
  /** What the content itself threw, whatever a storage makes of it; undefined where it did not. */
  failure: unknown
  readonly #hash: Hash

  constructor(sha256: Hash) {
    this.#hash = sha256
  }

  /** Node's module of all cryptography is loaded with the first upload: that takes longer than a replica's routes. */
  static async start(): Promise<Meter> {
    const { createHash } = await import('node:crypto')
    return new Meter(createHash('sha256'))
  }

  async *through(content: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of content) {
        this.bytes += chunk.length
        this.#hash.update(chunk)
        yield chunk
      }
    } catch (error) {
      this.failure = error
      throw error
    }
  }

  /** SHA-256 of all that has passed, in hex; once. */
  sha256(): string {
    return this.#hash.digest('hex')
  }
}
