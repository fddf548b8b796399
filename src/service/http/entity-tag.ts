/**
 * A strong entity tag of content that is known whole (RFC 9110, 8.8.3): the same bytes have the same tag on all replicas.
 * To import node:crypto for it would cost a replica that starts 5 ms.
 */
export const entityTag = async (content: Uint8Array<ArrayBuffer>): Promise<string> =>
  `"${Buffer.from(await crypto.subtle.digest('SHA-256', content)).toString('base64url')}"`

/**
 * Whether an If-None-Match names the tag, by weak comparison (RFC 9110, 13.1.2). Koa's `ctx.fresh` would not do: it takes
 * the `Cache-Control: no-cache` that every `fetch` adds to such a request for a wish to be sent all of it again.
 */
export const listsTag = (given: string | undefined, tag: string): boolean =>
  given !== undefined && given.split(',').some((listed) => ['*', tag, `W/${tag}`].includes(listed.trim()))

/** Whether an If-Match lets the tag pass, by strong comparison (RFC 9110, 13.1.1); one that is absent does. */
export const permitsTag = (given: string | undefined, tag: string): boolean =>
  given === undefined || given.split(',').some((listed) => ['*', tag].includes(listed.trim()))
