import * as z from 'zod'
import type { ProblemCode } from '../../contract/problems.ts'
import { Failure, InputError } from '../../kit/errors.ts'
import type { Answer, Operation } from '../http/api.ts'
import { cancellation, unhurriedCancellation } from '../http/cancellation.ts'
import { listsTag, permitsTag } from '../http/entity-tag.ts'
import { answerJson } from '../http/json.ts'
import type { ServiceContext } from '../http/lean-koa.ts'
import { idPath, integer, listedId, parameters, pathId } from '../http/parameters.ts'
import { HttpFailure } from '../http/problem.ts'
import { streamOut } from '../http/stream-out.ts'
import { byteRange, type ByteRange } from '../uploads/byte-range.ts'
import { digestField, sha256In } from '../uploads/digest.ts'
import { isMediaType, noMediaType } from '../uploads/media-type.ts'
import { latestId, type Upload } from '../uploads/upload.ts'
import type { Incoming } from '../uploads/uploads.ts'
import type { Route } from './route.ts'

const uuid = 'a UUID, as in an upload\'s "id"'
const pageQuery = z.strictObject({ limit: integer(1, 100, 20), before: listedId(uuid, latestId) })

/**
 * `/uploads`: content of any size that streams through, to a directory or to S3. It is never changed, so its `ETag` is
 * its SHA-256. Answers keep their leave to work until the last byte is out: a download holds a descriptor as long.
 */
export const uploads: Route = (api, { config, clock, uploads }) => {
  const { idleTimeoutMs } = config.uploads

  api.post('/uploads', create, async (ctx) => {
    const wish = unhurriedCancellation(ctx)
    const upload = await readOr(ctx, async () => uploads.receive(await incoming(ctx), wish))
    answerJson(ctx, upload, { status: 201, headers: ['Location', `/uploads/${upload.id}`, 'ETag', tagOf(upload)] })
  })

  api.get('/uploads', list, async (ctx) => {
    const { limit, before } = parameters(ctx, pageQuery)
    const page = await uploads.list(before, limit, cancellation(ctx))
    const next = `</uploads?limit=${limit}&before=${page.next}>; rel="next"`
    answerJson(ctx, { uploads: page.uploads }, { headers: page.next === undefined ? [] : ['Link', next] })
  })

  api.get('/uploads/:id', read, async (ctx) => {
    const id = pathId(ctx, uuid)
    const upload = await uploads.find(id, cancellation(ctx))
    if (upload === undefined) throw notFound()
    const range = await answerHead(ctx, upload)
    if (range === undefined) return
    const content = await uploads.open(id, range, cancellation(ctx))
    if (content === undefined) throw notFound()
    unhurriedCancellation(ctx)
    const error = await streamOut(ctx, content, { idleTimeoutMs, clock })
    if (error !== undefined) throw uploads.failed(error)
  })

  api.delete('/uploads/:id', remove, async (ctx) => {
    const id = pathId(ctx, uuid)
    const upload = await uploads.find(id, cancellation(ctx))
    if (upload === undefined) throw notFound()
    requireMatch(ctx, tagOf(upload))
    await uploads.remove(id, cancellation(ctx))
    ctx.status = 204
  })
}

/** When it fails, what is left of the body is read and forgotten, so that the connection can serve the next request. */
const readOr = async (ctx: ServiceContext, receive: () => Promise<Upload>): Promise<Upload> => {
  try {
    return await receive()
  } catch (error) {
    // What may still come of a late body is not waited for.
    if (error instanceof Failure && error.code === 'request-timeout') ctx.res.shouldKeepAlive = false
    ctx.req.resume()
    throw error
  }
}

const incoming = async ({ req }: ServiceContext): Promise<Incoming> => {
  const { headers } = req
  const length = headers['content-length']
  if (length === undefined && headers['transfer-encoding'] === undefined) {
    throw new InputError([{ field: 'body', value: undefined, accepted: 'the content, or a form with one file' }])
  }
  const coding = headers['content-encoding'] ?? 'identity'
  if (coding !== 'identity') {
    throw new Failure<ProblemCode>('unsupported-media-type', { detail: 'send the content without Content-Encoding' })
  }
  const type = mediaType(headers['content-type'])
  const common = { source: req, type, announcedBytes: length === undefined ? undefined : Number(length) }
  // A digest of a form is not one of the file in it.
  if (/^multipart\/form-data\b/i.test(type)) return { ...common, isForm: true }
  const name = await fileName(headers['content-disposition'])
  return { ...common, isForm: false, name, sha256: expectedSha256(req.headers) }
}

const mediaType = (given = 'application/octet-stream'): string => {
  if (!isMediaType(given)) throw noMediaType(given)
  return given
}

const fileName = async (given: string | undefined): Promise<string | undefined> => {
  if (given === undefined) return undefined
  const { default: disposition } = await import('content-disposition')
  try {
    return asUtf8(disposition.parse(given).parameters['filename'])
  } catch {
    const accepted = 'attachment; filename="NAME" (RFC 6266)'
    throw new InputError([{ field: 'Content-Disposition', value: given, accepted }])
  }
}

/** Many clients write UTF-8 where a header has Latin-1. What is UTF-8 by chance is hardly ever a name. */
const asUtf8 = (name: string | undefined): string | undefined => {
  if (name === undefined || /[^\0-\xff]/.test(name)) return name
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(name, 'latin1'))
  } catch {
    return name
  }
}

/** Of content without a coding, whole, the two are the same. */
const expectedSha256 = (headers: NodeJS.Dict<string | string[]>): string | undefined => {
  const ofContent = sha256In('Content-Digest', headers['content-digest'] as string | undefined)
  const given = headers['repr-digest'] as string | undefined
  const ofWhole = sha256In('Repr-Digest', given)
  if (ofContent === undefined || ofWhole === undefined || ofWhole === ofContent) return ofContent ?? ofWhole
  throw new InputError([{ field: 'Repr-Digest', value: given, accepted: 'the SHA-256 that Content-Digest names' }])
}

const requireMatch = (ctx: ServiceContext, tag: string): void => {
  if (permitsTag(ctx.req.headers['if-match'], tag)) return
  throw new Failure<ProblemCode>('precondition-failed', { detail: `the content is ${tag}` })
}

/** Answers all but the content; returns the range of it that is to follow, or undefined where none is. */
const answerHead = async (ctx: ServiceContext, upload: Upload): Promise<ByteRange | undefined> => {
  const tag = tagOf(upload)
  requireMatch(ctx, tag)
  ctx.set({ ETag: tag, 'Cache-Control': 'private, no-cache' })
  if (listsTag(ctx.get('If-None-Match'), tag)) {
    ctx.status = 304
    return undefined
  }
  const range = wantedRange(ctx, upload)
  ctx.set(await contentHeaders(upload))
  ctx.status = range === 'whole' ? 200 : 206
  const { start, end } = range === 'whole' ? { start: 0, end: upload.size - 1 } : range
  if (range !== 'whole') ctx.set('Content-Range', `bytes ${start}-${end}/${upload.size}`)
  ctx.set('Content-Length', String(end - start + 1))
  // Without a body Koa would send one of its own.
  if (upload.size === 0) ctx.body = ''
  return ctx.method === 'HEAD' || end < start ? undefined : { start, end }
}

const wantedRange = (ctx: ServiceContext, { size, ...upload }: Upload): ByteRange | 'whole' => {
  const { range: given, 'if-range': condition } = ctx.req.headers
  // A date never matches: nothing here has one.
  if (ctx.method !== 'GET' || (condition !== undefined && condition !== tagOf(upload))) return 'whole'
  const range = byteRange(given, size)
  if (range !== 'unsatisfiable') return range
  throw new HttpFailure('range-not-satisfiable', { 'Content-Range': `bytes */${size}` }, `there are ${size} bytes`)
}

/** Somebody else's content: it must not become a page of this origin, whatever type it claims to be of. */
const contentHeaders = async ({ name, type, sha256 }: Upload): Promise<Record<string, string>> => {
  const { default: disposition } = await import('content-disposition')
  return {
    'Content-Type': type,
    'Content-Disposition': disposition(name ?? undefined),
    'Accept-Ranges': 'bytes',
    'Repr-Digest': digestField(sha256),
    'X-Content-Type-Options': 'nosniff',
    'Content-Security-Policy': "sandbox; default-src 'none'",
  }
}

const tagOf = ({ sha256 }: Pick<Upload, 'sha256'>): string => `"${sha256}"`

const notFound = (): Failure<ProblemCode> => new Failure('not-found', { detail: 'no upload has this id' })

const uploadSchema = (): z.ZodObject =>
  z.strictObject({
    id: z.uuid().describe('Orders uploads by their time.'),
    name: z.string().nullable().describe("The client's name of the file, made harmless; null where it gave none."),
    type: z.string().describe('The media type as the client said it.'),
    size: z.int().min(0).describe('In bytes.'),
    sha256: z
      .string()
      .regex(/^[\da-f]{64}$/)
      .describe('Of the content, in hex.'),
    createdAt: z.iso.datetime(),
  })

const created: Answer = {
  description: 'All of it is stored.',
  content: { 'application/json': uploadSchema },
  headers: { Location: 'Where the content is.', ETag: 'The SHA-256 of the content.' },
}

const create: Operation = {
  summary: 'Upload content of any size',
  description:
    'Streams the body to the storage, which sets the pace. The body is the content itself, of any media type, or a form ' +
    'with one file: one request makes one upload, and several files are sent side by side. An upload that does not come ' +
    'to its end leaves nothing. There is no time limit but the one on silence.',
  headers: () =>
    z.object({
      'content-disposition': z
        .string()
        .optional()
        .describe('`attachment; filename="NAME"`: what the content is called.'),
      'content-digest': z
        .string()
        .optional()
        .describe('`sha-256=:BASE64:` (RFC 9530): anything else is refused. So for `repr-digest`.'),
    }),
  body: { '*/*': 'bytes', 'multipart/form-data': () => z.strictObject({ file: z.file() }) },
  answers: { 201: created },
  problems: [
    'invalid-request',
    'malformed-request',
    'request-timeout',
    'body-too-large',
    'unsupported-media-type',
    'storage-unavailable',
  ],
}

const list: Operation = {
  summary: 'List uploads, newest first',
  query: pageQuery,
  answers: {
    200: {
      description: 'One page.',
      content: { 'application/json': () => z.strictObject({ uploads: z.array(uploadSchema()) }) },
      headers: { Link: 'The next page, as `rel="next"`, where there may be one (RFC 8288).' },
    },
  },
  problems: ['invalid-request', 'storage-unavailable'],
}

const whole: Answer = {
  description: 'The content, of the type it was uploaded with.',
  content: { '*/*': 'bytes' },
  headers: {
    ETag: 'The SHA-256 of the content.',
    'Content-Disposition': '`attachment`, with the name of the file where it has one.',
    'Repr-Digest': 'The SHA-256 of all of the content (RFC 9530).',
  },
}

const ifMatch = z.string().optional().describe('ETags that are meant; with another one nothing is done.')

const read: Operation = {
  summary: 'Download an upload, or a range of it',
  path: idPath,
  headers: () =>
    z.object({
      range: z.string().optional().describe('One range, such as `bytes=0-999`; several are answered with all of it.'),
      'if-range': z.string().optional().describe('The ETag that the range is meant for.'),
      'if-match': ifMatch,
      'if-none-match': z.string().optional().describe('ETags that the client has.'),
    }),
  answers: {
    200: whole,
    206: {
      ...whole,
      description: 'The range of the content.',
      headers: { ...whole.headers, 'Content-Range': 'Which bytes, of how many.' },
    },
    304: { description: 'The client has it.' },
  },
  problems: ['invalid-request', 'not-found', 'precondition-failed', 'range-not-satisfiable', 'storage-unavailable'],
}

const remove: Operation = {
  summary: 'Delete an upload',
  path: idPath,
  headers: () => z.object({ 'if-match': ifMatch }),
  answers: { 204: { description: 'It is gone. A download that has begun may end.' } },
  problems: ['invalid-request', 'not-found', 'precondition-failed', 'storage-unavailable'],
}
