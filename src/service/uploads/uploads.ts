import type { Readable } from 'node:stream'
import { v7 as uuidv7 } from 'uuid'
import type { ProblemCode } from '../../contract/problems.ts'
import type { Cancellation } from '../../kit/cancellation.ts'
import { Failure, InputError } from '../../kit/errors.ts'
import type { Clock } from '../../kit/timers.ts'
import type { ByteRange } from './byte-range.ts'
import { atMost, Meter, patiently, tooLarge } from './content.ts'
import { Directory } from './directory.ts'
import { safeFileName } from './file-name.ts'
import { fileOfForm } from './form.ts'
import { S3Bucket } from './s3.ts'
import { madeAtMs, type Storage, type Upload } from './upload.ts'

export type UploadsConfig = {
  /** A directory, or `s3://bucket/prefix`. */
  readonly storage: string
  readonly s3: { readonly endpoint: string | undefined; readonly region: string }
  /** The longest content that is taken. */
  readonly maxBytes: number
  /** How long a client may send nothing while its upload is waited for. */
  readonly idleTimeoutMs: number
}

export type UploadsParts = {
  readonly clock: Clock
  /** Makes a UUID v7. Default: of the current time. */
  readonly newId?: () => string
  /** Told what the storage failed with, every 10 s at most. Default: nobody. */
  readonly onFailure?: (error: unknown) => void
  /** Default: the one that the configuration names. */
  readonly storage?: Storage
}

/** A request that brings content. */
export type Incoming = {
  readonly source: Readable
  /** Of the body: that of the content, or of a form with the file in it. */
  readonly type: string
  readonly isForm: boolean
  /** Of the content, where the request itself is the content. */
  readonly name?: string | undefined
  /** `Content-Length`; undefined where the length is not known before the end. */
  readonly announcedBytes?: number | undefined
  /** What the SHA-256 must be, in hex; not for a form. */
  readonly sha256?: string | undefined
}

/** One page of a list, and the id to go on from where there may be more. */
export type Page = { readonly uploads: readonly Upload[]; readonly next: string | undefined }

/** Makes the uploads of a service. */
export const createUploads = (config: UploadsConfig, parts: UploadsParts): Uploads => new Uploads(config, parts)

/** How often a storage that goes on failing is told of. */
const toldEveryMs = 10_000

/** What boundary, headers and line ends of a form may take. */
const mostFormBytes = 65_536

/**
 * Takes uploads in and gives them out. An upload that is not received to its end, whatever the reason, leaves nothing in
 * the storage. What the storage fails with becomes `storage-unavailable`.
 */
export class Uploads implements AsyncDisposable {
  readonly #config: UploadsConfig
  readonly #clock: Clock
  readonly #newId: () => string
  readonly #storage: Storage
  readonly #onFailure: (error: unknown) => void
  #toldAtMs = -Infinity
  readonly #receiving = new Set<Promise<unknown>>()

  constructor(config: UploadsConfig, { clock, newId = () => uuidv7(), onFailure = () => {}, storage }: UploadsParts) {
    this.#config = config
    this.#clock = clock
    this.#newId = newId
    this.#storage = storage ?? openStorage(config, newId)
    this.#onFailure = onFailure
  }

  /**
   * Stores the content of a request; resolves when it is safe and can be found.
   * Throws `body-too-large`, `request-timeout`, `malformed-request`, `storage-unavailable`, the cancellation's reason, or
   * `InputError`. The request's stream is left open, for an answer.
   */
  receive(incoming: Incoming, cancellation: Cancellation): Promise<Upload> {
    const receiving = this.#receive(incoming, cancellation)
    this.#receiving.add(receiving)
    return receiving.finally(() => this.#receiving.delete(receiving))
  }

  find(id: string, cancellation: Cancellation): Promise<Upload | undefined> {
    return this.#ask(this.#storage.find(id, cancellation), cancellation)
  }

  /** Bytes of an upload's content; undefined where it is gone. Who destroys the stream frees what it holds. */
  open(id: string, range: ByteRange, cancellation: Cancellation): Promise<Readable | undefined> {
    return this.#ask(this.#storage.open(id, range, cancellation), cancellation)
  }

  /** Newest first; `before` an id. */
  async list(before: string, limit: number, cancellation: Cancellation): Promise<Page> {
    const ids = await this.#ask(this.#storage.newest(before, limit, cancellation), cancellation)
    const found = await Promise.all(ids.map((id) => this.find(id, cancellation)))
    // One that was removed meanwhile is not there any more.
    const uploads = found.filter((upload) => upload !== undefined)
    return { uploads, next: ids.length === limit ? ids.at(-1) : undefined }
  }

  /** One that is not there is no error. */
  remove(id: string, cancellation: Cancellation): Promise<void> {
    return this.#ask(this.#storage.remove(id, cancellation), cancellation)
  }

  /** What is told of an error of the storage, also of one that came while its content was on the way. */
  failed(error: unknown): Failure<ProblemCode> {
    this.#tell(error)
    const full = ['ENOSPC', 'EDQUOT', 'EFBIG'].includes((error as NodeJS.ErrnoException).code ?? '')
    const detail = full ? 'there is no space left for uploads' : 'the storage of uploads failed; try again later'
    return new Failure('storage-unavailable', { detail, retryAfterSeconds: 5, cause: error })
  }

  /** Waits for uploads that are being received, which end with their connections, and leaves the storage. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#receiving)
    this.#storage.close()
  }

  async #receive(incoming: Incoming, cancellation: Cancellation): Promise<Upload> {
    const { maxBytes } = this.#config
    const mostBytes = incoming.isForm ? maxBytes + mostFormBytes : maxBytes
    if ((incoming.announcedBytes ?? 0) > mostBytes) throw tooLarge(maxBytes)
    const id = this.#newId()
    const meter = await Meter.start()
    try {
      return await this.#store(id, incoming, meter, cancellation)
    } catch (error) {
      const reason = this.#reasonOf(meter.failure ?? error)
      await this.#storage.discard(id).catch((failure: unknown) => this.#tell(failure))
      throw reason
    }
  }

  async #store(id: string, incoming: Incoming, meter: Meter, cancellation: Cancellation): Promise<Upload> {
    const file = this.#fileOf(incoming, cancellation)
    const { maxBytes } = this.#config
    const mostBytes = Math.min(incoming.announcedBytes ?? maxBytes, maxBytes)
    await this.#storage.stage(id, meter.through(atMost(file.content, maxBytes)), mostBytes)
    const sha256 = meter.sha256()
    if (incoming.sha256 !== undefined && incoming.sha256 !== sha256) throw otherDigest(sha256)
    cancellation.throwIfAborted()
    const createdAt = new Date(madeAtMs(id)).toISOString()
    const upload = { id, name: safeFileName(file.name), type: file.type, size: meter.bytes, sha256, createdAt }
    await this.#storage.commit(upload)
    return upload
  }

  /** The name and type of a form's file are known when its content has begun. */
  #fileOf({ source, isForm, name, type }: Incoming, cancellation: Cancellation): IncomingFile {
    const { idleTimeoutMs, maxBytes } = this.#config
    const bytes = patiently(source, { idleTimeoutMs, cancellation, clock: this.#clock })
    if (!isForm) return { content: bytes, name, type }
    const limited = atMost(bytes, maxBytes + mostFormBytes)
    const file: IncomingFile = { name, type, content: fileOfForm(limited, type, (part) => Object.assign(file, part)) }
    return file
  }

  async #ask<Result>(asked: Promise<Result>, cancellation: Cancellation): Promise<Result> {
    try {
      return await asked
    } catch (error) {
      throw cancellation.aborted ? (cancellation.reason as Error) : this.#reasonOf(error)
    }
  }

  #tell(error: unknown): void {
    const nowMs = this.#clock.now()
    if (nowMs - this.#toldAtMs < toldEveryMs) return
    this.#toldAtMs = nowMs
    this.#onFailure(error)
  }

  #reasonOf(error: unknown): Error {
    return error instanceof Failure || error instanceof InputError ? error : this.failed(error)
  }
}

type IncomingFile = { content: AsyncIterable<Buffer>; name: string | undefined; type: string }

const openStorage = ({ storage, s3 }: UploadsConfig, newId: () => string): Storage =>
  storage.startsWith('s3://') ? new S3Bucket({ url: storage, ...s3 }) : new Directory({ path: storage, newId })

const otherDigest = (sha256: string): Failure<ProblemCode> =>
  new Failure('malformed-request', { detail: `the content is not what its digest says: its SHA-256 is ${sha256}` })
