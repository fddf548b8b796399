import * as z from 'zod'
import type { ProblemCode } from '../../contract/problems.ts'
import { Failure } from '../../kit/errors.ts'
import type { Config } from '../config.ts'
import { type DescribedOperation, json, type Operation } from '../http/api.ts'
import type { DocsFile } from '../http/docs-page.ts'
import { entityTag, listsTag } from '../http/entity-tag.ts'
import type { ServiceContext } from '../http/lean-koa.ts'
import { documented } from '../http/parameters.ts'
import type { Route } from './route.ts'

/**
 * `GET /openapi.json`: the OpenAPI document of all routes. `GET /docs`: a page to read it and to try the routes.
 * Both are made, and what makes them is loaded, when first asked for.
 */
export const openApi: Route = (api, { config }) => {
  let document: Sent | undefined
  api.get('/openapi.json', describedDocument, async (ctx) => {
    document ??= await makeDocument(api.operations, config)
    send(ctx, document)
  })

  const files = new Map<DocsFile, Sent>()
  const sendFile = async (ctx: ServiceContext, file: DocsFile): Promise<void> => {
    const known = files.get(file) ?? (await read(file))
    files.set(file, known)
    send(ctx, known)
  }
  api.get('/docs', describedPage, async (ctx) => {
    const { docsPage } = await import('../http/docs-page.ts')
    await sendFile(ctx, docsPage)
  })
  api.get('/docs/:file', describedFile, async (ctx) => {
    const { docsFiles } = await import('../http/docs-page.ts')
    const name = ctx.params['file']!
    if (!Object.hasOwn(docsFiles, name)) throw noSuchFile()
    await sendFile(ctx, docsFiles[name]!)
  })
}

const noSuchFile = (): Failure<ProblemCode> => new Failure('not-found', { detail: 'the page has no such file' })

/** A body with its type and its entity tag. */
type Sent = { readonly type: string; readonly body: Buffer; readonly tag: string }

const makeDocument = async (operations: readonly DescribedOperation[], config: Config): Promise<Sent> => {
  const { serviceDocument } = await import('./document.ts')
  const body = JSON.stringify(serviceDocument(operations, config))
  return sent('application/json', body)
}

const read = async (file: DocsFile): Promise<Sent> => sent(file.type, await file.read())

const sent = async (type: string, content: string | Buffer): Promise<Sent> => {
  const body = Buffer.from(content)
  return { type, body, tag: await entityTag(body) }
}

/** The page loads what it needs from here and from nowhere else, and nothing else may hold it or be reached by it. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

const secured = Object.entries({
  'Content-Security-Policy': policy,
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  // It may be kept, but is asked for again, which costs a 304: after an update the page must fit the service.
  'Cache-Control': 'no-cache',
}).flat()

const send = (ctx: ServiceContext, { type, body, tag }: Sent): void => {
  const headers = [...secured, 'ETag', tag]
  if (listsTag(ctx.get('If-None-Match'), tag)) ctx.reply(304, type, '', headers)
  else ctx.reply(200, type, body, headers)
}

const describedDocument: Operation = {
  summary: 'This document',
  tag: 'documentation',
  instant: true,
  answers: {
    ...json('An OpenAPI 3.1 document.', () => z.looseObject({ openapi: z.string(), info: z.looseObject({}) })),
    304: { description: 'It has the `ETag` that `If-None-Match` names.' },
  },
}

const describedPage: Operation = {
  summary: 'A page to read this document and to try the operations',
  tag: 'documentation',
  instant: true,
  answers: {
    200: { description: 'Swagger UI.', content: { 'text/html': () => z.string() } },
    304: { description: 'It has the `ETag` that `If-None-Match` names.' },
  },
}

const fileNames = ['start.js', 'page.css', 'icon.svg', 'swagger-ui.css', 'swagger-ui-bundle.js']

const describedFile: Operation = {
  summary: 'A part of the page',
  tag: 'documentation',
  instant: true,
  path: () =>
    z.strictObject({ file: z.string().register(documented, { schema: { type: 'string', enum: fileNames } }) }),
  answers: {
    200: {
      description: 'The file.',
      content: { 'text/javascript': 'bytes', 'text/css': 'bytes', 'image/svg+xml': 'bytes' },
    },
    304: { description: 'It has the `ETag` that `If-None-Match` names.' },
  },
  problems: ['not-found'],
}
