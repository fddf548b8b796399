/** Where a GET goes: all of it from the configuration. */
export type Target = {
  /** `http://host:port`. */
  readonly origin: string
  /** With the query. */
  readonly path: string
  /** What the URL says of who we are, as a flat list of name, value. */
  readonly headers: readonly string[]
}

/** Header fields of an answer, by name in lower case. */
export type Fields = Readonly<Record<string, string | readonly string[] | undefined>>

/** What one attempt came to. */
export type Outcome =
  | {
      readonly kind: 'answer'
      readonly status: number
      readonly headers: Fields
      /** Undefined: it was larger than {@link mostBodyBytes}, and not read to its end. */
      readonly body: Uint8Array | undefined
    }
  /** No connection, or one that ended before the answer did. `code` names no address. */
  | { readonly kind: 'broken'; readonly code: string }

/**
 * Ends an attempt that has not landed, and it will not. `gone` is called once, when it holds no connection any more: at
 * once, save where a connection is still being made.
 */
export type Abort = (gone: () => void) => void

/** How upstreams are reached; a port, so that tests need no network. */
export type Transport = {
  /**
   * Sends one GET with these headers (flat) and calls `landed` once with what came of it. To abort is to close the
   * connection: nothing is left running on either side.
   */
  get(target: Target, headers: readonly string[], landed: (outcome: Outcome) => void): Abort
  /** Closes all connections. */
  close(): Promise<void>
}

/** The largest body that is read: it is held in memory. */
export const mostBodyBytes = 1_048_576

/** The target that a URL names. Its user and password become `Authorization` (RFC 7617). Throws TypeError as `URL` does. */
export const targetOf = (text: string): Target => {
  const url = new URL(text)
  const { origin, pathname, search, username, password } = url
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  const basic = ['authorization', `Basic ${Buffer.from(credentials).toString('base64')}`]
  return { origin, path: pathname + search, headers: credentials === ':' ? [] : basic }
}
