import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import type { CompletedPart, GetObjectCommandOutput, S3Client } from '@aws-sdk/client-s3'
import type { Cancellation } from '../../kit/cancellation.ts'
import { releaseMemory } from '../../kit/memory.ts'
import { type Block, blocksOf } from './blocks.ts'
import type { ByteRange } from './byte-range.ts'
import type { Storage, Upload } from './upload.ts'

export type BucketOptions = {
  /** `s3://bucket` or `s3://bucket/prefix`. */
  readonly url: string
  readonly region: string
  /** Of another storage than Amazon's that speaks S3; buckets are then named in paths. */
  readonly endpoint: string | undefined
}

type Aws = typeof import('@aws-sdk/client-s3')
type Place = { readonly Bucket: string; readonly Key: string }
type Connection = { readonly aws: Aws; readonly client: S3Client }

const connectTimeoutMs = 3_000
/** How long a request to the storage may stand still: it takes its time to put many parts together. */
const stalledMs = 120_000
const mostConnections = 256

/** The smallest part that S3 takes, and the most parts of an object. An upload holds two parts in memory. */
const leastPartBytes = 5 * 1024 ** 2
const mostParts = 10_000

/**
 * Keeps uploads in a bucket, with content under `content/ID` and its entry under `entries/REVERSED-ID`, so that a list
 * of the keys, which S3 gives in ascending order only, is one of the newest uploads. The client and its credentials are
 * those of the AWS SDK (`AWS_ACCESS_KEY_ID` and so on), which is loaded with the first request.
 *
 * What a crash leaves behind is best removed by a lifecycle rule of the bucket (`AbortIncompleteMultipartUpload`).
 */
export class S3Bucket implements Storage {
  readonly #bucket: string
  readonly #prefix: string
  readonly #options: BucketOptions
  #connecting: Promise<Connection> | undefined

  constructor(options: BucketOptions) {
    const [bucket, ...path] = options.url.slice('s3://'.length).split('/')
    const folders = path.filter((folder) => folder !== '')
    this.#bucket = bucket!
    this.#prefix = folders.map((folder) => `${folder}/`).join('')
    this.#options = options
  }

  async stage(id: string, content: AsyncIterable<Uint8Array>, mostBytes: number): Promise<void> {
    const parts = new Parts(await this.#connect(), this.#content(id))
    const partBytes = Math.max(leastPartBytes, Math.ceil(mostBytes / mostParts))
    try {
      for await (const part of blocksOf(content, Math.max(1, Math.min(partBytes, mostBytes)))) await parts.add(part)
      await parts.complete()
    } catch (error) {
      await parts.abort()
      throw error
    }
  }

  async commit(upload: Upload): Promise<void> {
    const { aws, client } = await this.#connect()
    const object = { Body: JSON.stringify(upload), ContentType: 'application/json' }
    await client.send(new aws.PutObjectCommand({ ...this.#entry(upload.id), ...object }))
  }

  discard(id: string): Promise<void> {
    // An answer that got lost may have been that of a success.
    return this.remove(id)
  }

  async find(id: string, cancellation?: Cancellation): Promise<Upload | undefined> {
    const { aws, client } = await this.#connect()
    const { Body } = (await present(
      client.send(new aws.GetObjectCommand(this.#entry(id)), abortedBy(cancellation)),
    )) ?? { Body: undefined }
    return Body === undefined ? undefined : (JSON.parse(await Body.transformToString()) as Upload)
  }

  async open(id: string, { start, end }: ByteRange, cancellation?: Cancellation): Promise<Readable | undefined> {
    const { aws, client } = await this.#connect()
    const command = new aws.GetObjectCommand({ ...this.#content(id), Range: `bytes=${start}-${end}` })
    const found: GetObjectCommandOutput | undefined = await present(client.send(command, abortedBy(cancellation)))
    const body = found?.Body as IncomingMessage | undefined
    if (body !== undefined) tame(body)
    return body
  }

  async newest(before: string, limit: number, cancellation?: Cancellation): Promise<string[]> {
    const { aws, client } = await this.#connect()
    const { Bucket, Key } = this.#entry(before)
    const prefix = `${this.#prefix}entries/`
    const command = new aws.ListObjectsV2Command({ Bucket, Prefix: prefix, StartAfter: Key, MaxKeys: limit })
    const { Contents = [] } = await client.send(command, abortedBy(cancellation))
    return Contents.map((object) => reversed(object.Key!.slice(prefix.length)))
  }

  async remove(id: string, cancellation?: Cancellation): Promise<void> {
    const { aws, client } = await this.#connect()
    for (const object of [this.#entry(id), this.#content(id)]) {
      await client.send(new aws.DeleteObjectCommand(object), abortedBy(cancellation))
    }
  }

  close(): void {
    this.#connecting?.then(({ client }) => client.destroy()).catch(() => {})
  }

  #content(id: string): Place {
    return { Bucket: this.#bucket, Key: `${this.#prefix}content/${id}` }
  }

  #entry(id: string): Place {
    return { Bucket: this.#bucket, Key: `${this.#prefix}entries/${reversed(id)}` }
  }

  #connect(): Promise<Connection> {
    return (this.#connecting ??= connect(this.#options))
  }
}

/**
 * Puts an object together from parts, one on its way while the next is filled; a single part is put as it is. (The SDK's
 * own `Upload` copies each part, keeps several, and learns of a failure only some parts later.)
 */
class Parts {
  readonly #connection: Connection
  readonly #place: Place
  readonly #sent: CompletedPart[] = []
  #uploadId: string | undefined
  #sending: Promise<void> = Promise.resolve()

  constructor(connection: Connection, place: Place) {
    this.#connection = connection
    this.#place = place
  }

  /** Sends a part once the one before has arrived; throws if that one has not. */
  async add({ bytes, isLast }: Block): Promise<void> {
    await this.#sending
    this.#sending = isLast && this.#uploadId === undefined ? this.#put(bytes) : this.#send(bytes)
    // Whoever waits for it next is told.
    this.#sending.catch(() => {})
  }

  async complete(): Promise<void> {
    await this.#sending
    if (this.#uploadId === undefined) return
    const { aws, client } = this.#connection
    const whole = { ...this.#place, UploadId: this.#uploadId, MultipartUpload: { Parts: this.#sent } }
    await client.send(new aws.CompleteMultipartUploadCommand(whole))
  }

  /** Removes the parts that have arrived. */
  async abort(): Promise<void> {
    await this.#sending.catch(() => {})
    if (this.#uploadId === undefined) return
    const { aws, client } = this.#connection
    const aborted = new aws.AbortMultipartUploadCommand({ ...this.#place, UploadId: this.#uploadId })
    // Of two failures the first is the one to tell.
    await client.send(aborted).catch(() => {})
  }

  async #put(bytes: Buffer): Promise<void> {
    const { aws, client } = this.#connection
    await client.send(new aws.PutObjectCommand({ ...this.#place, Body: bytes }))
  }

  async #send(bytes: Buffer): Promise<void> {
    const { aws, client } = this.#connection
    this.#uploadId ??= (await client.send(new aws.CreateMultipartUploadCommand(this.#place))).UploadId!
    const PartNumber = this.#sent.length + 1
    const part = { ...this.#place, UploadId: this.#uploadId, PartNumber, Body: bytes }
    const { ETag } = await client.send(new aws.UploadPartCommand(part))
    this.#sent.push({ PartNumber, ETag })
  }
}

const connect = async ({ region, endpoint }: BucketOptions): Promise<Connection> => {
  const aws = await import('@aws-sdk/client-s3')
  const sockets = { maxSockets: mostConnections, keepAlive: true }
  const client = new aws.S3Client({
    region,
    ...(endpoint !== undefined && { endpoint, forcePathStyle: true }),
    // The checksums that the SDK would add are not known to every storage; its signature covers what is sent.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      connectionTimeout: connectTimeoutMs,
      socketTimeout: stalledMs,
      httpAgent: sockets,
      httpsAgent: sockets,
    },
  })
  return { aws, client }
}

/**
 * Lets an answer of the storage take as long as our client takes, who may well let it stand still, and frees what comes
 * on its connection when it has been parsed: the parser makes copies.
 */
const tame = (body: IncomingMessage): void => {
  const { socket } = body
  socket.setTimeout(0)
  socket.on('data', releaseMemory)
  body.once('close', () => socket.off('data', releaseMemory))
}

/** An id with each hex digit replaced by 15 minus it: what is later then sorts first. Its own inverse. */
export const reversed = (id: string): string =>
  id.replace(/[\da-f]/g, (digit) => (15 - Number.parseInt(digit, 16)).toString(16))

// The SDK needs no more of a signal than a cancellation has.
const abortedBy = (cancellation: Cancellation | undefined): { abortSignal?: AbortSignal } =>
  cancellation === undefined ? {} : { abortSignal: cancellation as AbortSignal }

/** Undefined for an object that is not there. */
const present = <Found>(found: Promise<Found>): Promise<Found | undefined> =>
  found.catch((error: Error) => {
    if (error.name === 'NoSuchKey') return undefined
    throw error
  })
