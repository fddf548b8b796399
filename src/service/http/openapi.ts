import * as z from 'zod'
import { type ProblemCode, problems } from '../../contract/problems.ts'
import { InputError } from '../../kit/errors.ts'
import type { Answer, Content, DescribedOperation, Operation } from './api.ts'
import { documented, type ParameterSchema } from './parameters.ts'
import { answerTo, problemDetails } from './problem.ts'

/** What a document is made of. */
export type Described = {
  readonly title: string
  readonly version: string
  /** What every client should know, in Markdown; a table of all problems is added. */
  readonly description: string
  readonly service: Port
  readonly admin: Port & { readonly port: number }
  /** Name of the header that carries a client's key; undefined where no keys are known. */
  readonly keyHeader?: string | undefined
}

/** The operations of one port, and what they have in common. */
export type Port = {
  readonly operations: readonly DescribedOperation[]
  readonly common: Common
  /** What those have in addition that are not instant. */
  readonly timed?: Common
}

export type Common = {
  /** Request headers that are read. */
  readonly headers?: ParameterSchema
  /** What can be answered instead of what was asked for. */
  readonly problems: readonly ProblemCode[]
}

/** A part of a document: JSON. */
export type Json = { [name: string]: unknown }

/** A problem as it stands in a body: RFC 9457 with the members `code`, `requestId` and `errors` added. */
export const problemSchema = (): z.ZodType =>
  z
    .strictObject({
      type: z.string().describe('Where this kind of problem is described: `/problems/CODE`.'),
      title: z.string().describe('What this kind of problem is, the same for all of them.'),
      status: z.int().min(400).max(599).describe('The HTTP status.'),
      code: z.enum(codes).describe('The kind of problem, for a program.'),
      detail: z.string().optional().describe('What this occurrence is about, for a person.'),
      requestId: z.string().describe('The `X-Request-Id` of the request, or a new one; it is in the logs.'),
      errors: z.array(mistake()).optional().describe('Each mistake of the request, where it has any.'),
    })
    .meta({ title: 'Problem' })

const mistake = (): z.ZodType =>
  z
    .strictObject({
      field: z.string().describe('The parameter, the header, or the path within the body.'),
      value: z.unknown().optional().describe('What was given; absent where nothing was.'),
      accepted: z.string().describe('What would have been accepted.'),
      detail: z.string().describe('All three in one sentence.'),
    })
    .meta({ title: 'Mistake' })

const codes = Object.keys(problems) as [ProblemCode, ...ProblemCode[]]

/**
 * Makes the OpenAPI 3.1 document of a service from the descriptions of its routes, whose schemas are those that check
 * the input. The same descriptions give the same bytes. https://spec.openapis.org/oas/v3.1.1.html
 *
 * Each operation lists the problems that it can answer. Those that belong to no operation (an unknown path, a method
 * that a path does not have) are among the components, as all problems are, one response for each set of problems with
 * the same status that some operation has.
 *
 * An object schema with a one-word `title` becomes a component of this name; two different ones of a name are an error.
 */
export const openApiDocument = (described: Described): Json => {
  const components = new Components()
  const { service, admin, keyHeader } = described
  const paths = {}
  const elsewhere = { servers: [adminServer(admin.port)], ...(keyHeader !== undefined && { security: [] }) }
  for (const operation of service.operations) addOperation(paths, operation, { port: service, components })
  for (const operation of admin.operations) {
    addOperation(paths, operation, { port: admin, components, more: elsewhere })
  }
  return {
    openapi: '3.1.1',
    info: {
      title: described.title,
      version: described.version,
      description: `${described.description}\n\n${problemTable()}`,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    ...(keyHeader !== undefined && { security: [{}, { clientKey: [] }] }),
    tags: tagsOf([...service.operations, ...admin.operations]),
    paths,
    components: { ...components.toJson(), securitySchemes: securitySchemes(keyHeader) },
  }
}

const problemTable = (): string => {
  const rows = codes.map((code) => {
    const { status, title } = problems[code]
    return `| ${status} | [\`${code}\`](/problems/${code}) | ${title} |`
  })
  const table = ['| status | code | |', '|---|---|---|', ...rows]
  return ['<details><summary>All problems</summary>', '', ...table, '', '</details>'].join('\n')
}

const adminServer = (port: number): Json => ({
  url: 'http://{host}:{port}',
  description: 'The admin port of one replica; not for the outside world.',
  variables: { host: { default: 'localhost' }, port: { default: String(port) } },
})

const tagsOf = (operations: readonly DescribedOperation[]): Json[] =>
  [...new Set(operations.map(tagOf))].map((name) => ({ name }))

const tagOf = ({ operation, template }: DescribedOperation): string => operation.tag ?? template.split('/')[1]!

const securitySchemes = (keyHeader: string | undefined): Json => ({
  adminToken: { type: 'http', scheme: 'bearer', description: 'What `ADMIN_TOKEN` says.' },
  ...(keyHeader !== undefined && {
    clientKey: { type: 'apiKey', in: 'header', name: keyHeader, description: 'Who asks, for the rate limit.' },
  }),
})

type Where = { readonly port: Port; readonly components: Components; readonly more?: Json }

const addOperation = (paths: Json, described: DescribedOperation, where: Where): void => {
  const path = described.template.replace(/:(\w+)/g, '{$1}')
  const methods = (paths[path] ??= {}) as Json
  methods[described.method] = operationObject(described, where)
}

const operationObject = (described: DescribedOperation, { port, components, more }: Where): Json => {
  const { operation } = described
  const commons = operation.instant || port.timed === undefined ? [port.common] : [port.common, port.timed]
  const parameters = [
    ...components.parameters('path', operation.path?.()),
    ...components.parameters('query', operation.query),
    ...components.parameters('header', operation.headers?.()),
    ...commons.flatMap(({ headers }) => components.sharedParameters('header', headers)),
  ]
  return {
    operationId: operationId(described),
    summary: operation.summary,
    ...(operation.description !== undefined && { description: operation.description }),
    tags: [tagOf(described)],
    ...more,
    ...(operation.problems?.includes('unauthorized') && { security: [{ adminToken: [] }] }),
    ...(parameters.length > 0 && { parameters }),
    ...(operation.body !== undefined && { requestBody: components.requestBody(operation.body) }),
    responses: components.responses(operation, [
      ...commons.flatMap(({ problems }) => problems),
      ...(parameters.length > 0 ? inputProblems : []),
      ...bodyProblems(operation),
    ]),
  }
}

/** `get /items/:id` is `getItemsById`. */
const operationId = ({ method, template }: DescribedOperation): string => {
  const words = template.match(/:?\w+/g) ?? ['index']
  return method + words.map((word) => (word.startsWith(':') ? `By${capital(word.slice(1))}` : capital(word))).join('')
}

const capital = (word: string): string => word.charAt(0).toUpperCase() + word.slice(1)

/** The parts of a document that are named once and used in many places. */
class Components {
  readonly #schemas: Json = {}
  readonly #parameters: Json = {}
  readonly #responses: Json = {}

  constructor() {
    for (const code of codes) this.#problemResponse([code])
  }

  toJson(): Json {
    return {
      schemas: this.#schemas,
      parameters: this.#parameters,
      responses: this.#responses,
      headers: headerComponents,
      examples: Object.fromEntries(codes.map((code) => [code, problemExample(code)])),
    }
  }

  parameters(place: 'path' | 'query' | 'header', schema: ParameterSchema | undefined): Json[] {
    if (schema === undefined) return []
    const { properties = {}, required = [] } = this.#schema(schema, 'input') as JsonObjectSchema
    return Object.entries(properties).map(([name, { [separatorMark]: separator, description, ...schema }]) => ({
      name,
      in: place,
      ...(description !== undefined && { description }),
      ...((place === 'path' || required.includes(name)) && { required: true }),
      ...(separator === ',' && { style: 'form', explode: false }),
      schema,
    }))
  }

  sharedParameters(place: 'header', schema: ParameterSchema | undefined): Json[] {
    return this.parameters(place, schema).map((parameter) => {
      const name = String(parameter['name'])
      this.#parameters[name] = parameter
      return { $ref: `#/components/parameters/${name}` }
    })
  }

  requestBody(body: NonNullable<Operation['body']>): Json {
    return { required: true, content: this.#content(body, 'input') }
  }

  responses(operation: Operation, also: readonly ProblemCode[]): Json {
    const responses: Json = {}
    for (const [status, answer] of Object.entries(operation.answers)) responses[status] = this.#response(answer)
    const possible = new Set([...also, ...(operation.problems ?? [])])
    // In the order of the registry, whatever that of the route is.
    const byStatus = Map.groupBy(
      codes.filter((code) => possible.has(code)),
      (code) => problems[code].status,
    )
    for (const [status, alike] of byStatus) {
      const problem = this.#problemResponse(alike)
      responses[status] = responses[status] === undefined ? problem : this.#either(responses[status] as Json, alike)
    }
    return responses
  }

  #response({ description, content, headers }: Answer): Json {
    return {
      description,
      ...(headers !== undefined && {
        headers: Object.fromEntries(
          Object.entries(headers).map(([name, description]) => [name, { description, schema: { type: 'string' } }]),
        ),
      }),
      ...(content !== undefined && { content: this.#content(content, 'output') }),
    }
  }

  /** A reference to the response that is one of these problems, which have one status. */
  #problemResponse(alike: readonly ProblemCode[]): Json {
    const name = alike.join('.')
    const headers = headersOf(problems[alike[0]!].status)
    this.#responses[name] ??= {
      description: alike.map((code) => `${problems[code].title} (\`${code}\`)`).join(' · '),
      ...(headers !== undefined && { headers }),
      content: this.#problemContent(alike),
    }
    return { $ref: `#/components/responses/${name}` }
  }

  /** What an operation answers itself with a status that problems have, too. */
  #either(answer: Json, alike: readonly ProblemCode[]): Json {
    return { ...answer, content: { ...(answer['content'] as Json), ...this.#problemContent(alike) } }
  }

  #problemContent(alike: readonly ProblemCode[]): Json {
    const schema = this.#schema(problemSchema(), 'output')
    const examples = Object.fromEntries(alike.map((code) => [code, { $ref: `#/components/examples/${code}` }]))
    return { 'application/problem+json': { schema, examples } }
  }

  #content(content: Readonly<Record<string, Content>>, io: 'input' | 'output'): Json {
    const media = (of: Content): Json => (of === 'bytes' ? {} : { schema: this.#schema(of(), io) })
    return Object.fromEntries(Object.entries(content).map(([type, of]) => [type, media(of)]))
  }

  #schema(schema: z.ZodType, io: 'input' | 'output'): Json {
    const { $schema: _, ...json } = z.toJSONSchema(schema, { io, override: asClientsThink, unrepresentable: 'any' })
    return this.#named(json) as Json
  }

  /** Puts a reference in place of each schema that has a name. */
  #named(node: unknown): unknown {
    if (Array.isArray(node)) return node.map((item) => this.#named(item))
    if (typeof node !== 'object' || node === null) return node
    const json = Object.fromEntries(Object.entries(node).map(([key, value]) => [key, this.#named(value)]))
    const { title } = json
    if (typeof title !== 'string' || !/^[A-Z]\w*$/.test(title)) return json
    const known = this.#schemas[title]
    if (known !== undefined && JSON.stringify(known) !== JSON.stringify(json)) {
      throw new Error(`two schemas are called ${title}`)
    }
    this.#schemas[title] = json
    return { $ref: `#/components/schemas/${title}` }
  }
}

type JsonObjectSchema = { readonly properties?: Readonly<Record<string, Json>>; readonly required?: readonly string[] }

/** Goes with a list on its way through zod, which merges schemas, to the parameter that it becomes. */
const separatorMark = 'x-separator'

type Override = NonNullable<NonNullable<Parameters<typeof z.toJSONSchema>[1]>['override']>

/** Numbers that are read from text are shown as numbers; bounds that only say what a JavaScript number holds are not. */
const asClientsThink: Override = ({ zodSchema, jsonSchema }) => {
  if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum
  if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum
  const meant = documented.get(zodSchema)
  if (meant === undefined) return requireRepresentable(zodSchema)
  const { description } = jsonSchema
  for (const key of Object.keys(jsonSchema)) delete jsonSchema[key]
  Object.assign(
    jsonSchema,
    description !== undefined && { description },
    meant.schema,
    meant.separator !== undefined && { [separatorMark]: meant.separator },
  )
}

const requireRepresentable = ({ _zod }: z.core.$ZodType): void => {
  if (_zod.def.type === 'transform') throw new Error('a schema that reads text does not say what the text stands for')
}

const inputProblems: readonly ProblemCode[] = ['invalid-request']

/** What can be wrong with a JSON body. */
const bodyProblems = ({ body }: Operation): readonly ProblemCode[] =>
  body !== undefined && 'application/json' in body
    ? [...inputProblems, 'malformed-request', 'body-too-large', 'unsupported-media-type']
    : []

const headerComponents: Json = {
  'Retry-After': { description: 'When it is worth trying again, in seconds.', schema: { type: 'integer', minimum: 0 } },
  Allow: { description: 'The methods that the path has.', schema: { type: 'string' } },
  'WWW-Authenticate': { description: 'How to say who you are.', schema: { type: 'string' } },
  'Content-Range': { description: 'How long the content is.', schema: { type: 'string' } },
}

const headersOf = (status: number): Json | undefined => {
  const special: Readonly<Record<number, string>> = {
    401: 'WWW-Authenticate',
    405: 'Allow',
    416: 'Content-Range',
    429: 'Retry-After',
    501: 'Allow',
    503: 'Retry-After',
  }
  const name = special[status]
  return name === undefined ? undefined : { [name]: { $ref: `#/components/headers/${name}` } }
}

const exampleId = '0f8d1c1e-6f0a-4c38-9a55-1f3b6f0c7d21'

const problemExample = (code: ProblemCode): Json => {
  const mistake = { field: 'ms', value: '-1', accepted: 'one whole number from 0 to 60000' }
  const answer = code === 'invalid-request' ? answerTo(new InputError([mistake])) : { code, headers: {} }
  return { summary: problems[code].title, value: problemDetails(answer, exampleId) }
}
