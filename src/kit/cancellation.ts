/**
 * What a piece of work needs to know of the wish that it should stop: the part of `AbortSignal` that is used here. Every
 * `AbortSignal` is one; a lighter object can be one too.
 */
export type Cancellation = {
  readonly aborted: boolean
  readonly reason: unknown
  throwIfAborted(): void
  addEventListener(type: 'abort', listener: () => void, options?: { readonly once?: boolean }): void
  removeEventListener(type: 'abort', listener: () => void): void
}

/** Resolves when the signal aborts; at once if it has. */
export const untilAborted = (signal: Cancellation): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
