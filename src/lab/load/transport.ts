/** How the driver sends a request. It knows targets by number, and nothing of the protocol. */
export type Transport = {
  /** Starts a request to the target and returns at once. `reply` hears of its end once, or never if it is abandoned. */
  send(target: number, reply: Reply): Attempt
  /** Drops every connection. */
  close(): Promise<void>
}

/** Hears how one request ended, possibly before `send` has returned. */
export type Reply = {
  /** The answer has arrived completely. `instance` names the replica that gave it, or is empty. */
  answered(outcome: 'ok' | 'httpError', status: number, instance: string): void
  /** There is no complete answer and will be none; `code` is a short, stable name of the cause. */
  failed(code: string): void
}

/** A request under way. */
export type Attempt = {
  /** Gives the request up: its reply is not called any more, its connection is not used again. */
  abandon(): void
}
