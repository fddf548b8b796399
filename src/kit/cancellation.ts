import type { Span } from './trace.ts'

/**
 * What a piece of work needs to know of the wish that it should stop: the part of `AbortSignal` that is used here. Every
 * `AbortSignal` is one; a lighter object can be one too. Both it and what is recorded of the work belong to the request
 * that the work is for, so it carries that, too.
 */
export type Cancellation = {
  /** What the work is a part of; undefined where that is not recorded. */
  readonly span?: Span | undefined
  readonly aborted: boolean
  readonly reason: unknown
  throwIfAborted(): void
  addEventListener(type: 'abort', listener: () => void, options?: { readonly once?: boolean }): void
  removeEventListener(type: 'abort', listener: () => void): void
}

/** The same wish for work that is recorded as a part of `span`, and not of what the wish is for. */
export const within = (span: Span | undefined, cancel: Cancellation): Cancellation =>
  span === undefined ? cancel : new Within(span, cancel)

class Within implements Cancellation {
  readonly span: Span
  readonly #cancel: Cancellation

  constructor(span: Span, cancel: Cancellation) {
    this.span = span
    this.#cancel = cancel
  }

  get aborted(): boolean {
    return this.#cancel.aborted
  }

  get reason(): unknown {
    return this.#cancel.reason
  }

  throwIfAborted(): void {
    this.#cancel.throwIfAborted()
  }

  addEventListener(type: 'abort', listener: () => void, options?: { readonly once?: boolean }): void {
    this.#cancel.addEventListener(type, listener, options)
  }

  removeEventListener(type: 'abort', listener: () => void): void {
    this.#cancel.removeEventListener(type, listener)
  }
}

/** For work that is recorded as a part of `span` and must not be stopped. */
export const unstoppable = (span: Span): Cancellation => ({
  span,
  aborted: false,
  reason: undefined,
  throwIfAborted: () => {},
  addEventListener: () => {},
  removeEventListener: () => {},
})

/** Resolves when the signal aborts; at once if it has. */
export const untilAborted = (signal: Cancellation): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
