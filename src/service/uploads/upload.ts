import type { Readable } from 'node:stream'
import type { Cancellation } from '../../kit/cancellation.ts'
import type { ByteRange } from './byte-range.ts'

/** What is known of content that was uploaded whole. */
export type Upload = {
  /** A UUID v7 in lower case, ours: it orders uploads by their time, and is the only name that a storage sees. */
  readonly id: string
  /** The client's name of the file, made harmless; null where it gave none. */
  readonly name: string | null
  /** Its media type as the client said it. */
  readonly type: string
  /** In bytes. */
  readonly size: number
  /** In lower-case hex. */
  readonly sha256: string
  /** When its first byte was awaited, in RFC 3339; the time in `id`. */
  readonly createdAt: string
}

/**
 * A place for uploads that replicas can share, without a database. Content and entry are written apart, and the entry is
 * the mark of completion: an upload
 *
 *   absent --stage--> staged --commit--> there --remove--> absent
 *                     staged --discard--> absent
 *
 * is seen by `find` and `newest` only while it is there. Content without an entry is what a crash leaves behind.
 * What fails in the storage rejects with its own error.
 */
export type Storage = {
  /**
   * Writes content as fast as the storage takes it; resolves when all of it is safe. `mostBytes`: it is not longer. Each
   * chunk is valid until the next is asked for.
   * Rejects with the error of `content` where that fails; `discard` must follow every rejection.
   */
  stage(id: string, content: AsyncIterable<Uint8Array>, mostBytes: number): Promise<void>
  commit(upload: Upload): Promise<void>
  /** Removes what there is of an upload that was not committed, or nothing. */
  discard(id: string): Promise<void>
  /** Undefined: there is no such upload. So for `open`. */
  find(id: string, cancellation?: Cancellation): Promise<Upload | undefined>
  /** Bytes of the content; destroying the stream frees what it holds. */
  open(id: string, range: ByteRange, cancellation?: Cancellation): Promise<Readable | undefined>
  /** Ids of at most `limit` uploads older than `before`, newest first. */
  newest(before: string, limit: number, cancellation?: Cancellation): Promise<string[]>
  /** Removes an upload; one that is not there is no error. */
  remove(id: string, cancellation?: Cancellation): Promise<void>
  close(): void
}

/** When a UUID v7 was made, in ms since 1970 (RFC 9562, 5.7). */
export const madeAtMs = (id: string): number => Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)

/** The id that is later than any other. */
export const latestId = 'ffffffff-ffff-ffff-ffff-ffffffffffff'
