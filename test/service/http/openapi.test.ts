import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Validator } from '@seriousme/openapi-schema-validator'
import fc from 'fast-check'
import { z } from 'zod'
import { type ProblemCode, problems } from '../../../src/contract/problems.ts'
import type { DescribedOperation, Operation } from '../../../src/service/http/api.ts'
import { openApiDocument, problemSchema } from '../../../src/service/http/openapi.ts'
import { documented, integer, integers } from '../../../src/service/http/parameters.ts'
import { problemDetails } from '../../../src/service/http/problem.ts'

type Json = Record<string, any> // oxlint-disable-line typescript/no-explicit-any

const plain: Operation = { summary: 'Something', instant: true, answers: { 204: { description: 'Done.' } } }

const at = (operation: Partial<Operation>, template = '/thing', method: DescribedOperation['method'] = 'get') => ({
  template,
  method,
  operation: { ...plain, ...operation },
})

type Given = {
  readonly everywhere?: readonly ProblemCode[]
  readonly admin?: readonly DescribedOperation[]
  readonly keyHeader?: string
}

const document = (
  operations: readonly DescribedOperation[],
  { everywhere = [], admin = [], keyHeader }: Given = {},
): Json =>
  openApiDocument({
    title: 'Test',
    version: '1.2.3',
    description: 'A test.',
    service: {
      operations,
      common: { problems: everywhere },
      timed: { headers: z.strictObject({ 'x-deadline': integer(1, 9).optional() }), problems: ['deadline-exceeded'] },
    },
    admin: { operations: admin, common: { problems: [] }, port: 9464 },
    keyHeader,
  })

const parametersOf = (query: Operation['query']): Json[] =>
  document([at({ query: query! })])['paths']['/thing']['get']['parameters']

test('a number in text is shown as the number that it stands for', () => {
  const [needed, preset] = parametersOf(z.strictObject({ ms: integer(1, 60), limit: integer(0, 500, 20) }))
  assert.deepEqual(needed, {
    name: 'ms',
    in: 'query',
    required: true,
    schema: { type: 'integer', minimum: 1, maximum: 60 },
  })
  assert.deepEqual(preset, {
    name: 'limit',
    in: 'query',
    schema: { type: 'integer', minimum: 0, maximum: 500, default: 20 },
  })
})

test('what the document says of a number is exactly what is accepted', () => {
  const bounds = fc.tuple(fc.nat(1_000), fc.nat(1_000)).map(([min, range]) => [min, min + range] as const)
  fc.assert(
    fc.property(bounds, fc.integer({ min: 0, max: 3_000 }), ([min, max], value) => {
      const schema = integer(min, max)
      const { minimum, maximum } = parametersOf(z.strictObject({ n: schema }))[0]!['schema'] as Json
      assert.equal(schema.safeParse(String(value)).success, value >= minimum && value <= maximum)
    }),
    { seed: 2026, numRuns: 200 },
  )
})

test('a list with commas is one parameter, a list without repeats it', () => {
  const names = z
    .union([z.string(), z.array(z.string())])
    .register(documented, { schema: { type: 'array', items: { type: 'string' } } })
  const [commas, repeated] = parametersOf(z.strictObject({ ms: integers(0, 9, 3), source: names }))
  assert.deepEqual(commas, {
    name: 'ms',
    in: 'query',
    required: true,
    style: 'form',
    explode: false,
    schema: { type: 'array', items: { type: 'integer', minimum: 0, maximum: 9 }, minItems: 1, maxItems: 3 },
  })
  assert.deepEqual(repeated, {
    name: 'source',
    in: 'query',
    required: true,
    schema: { type: 'array', items: { type: 'string' } },
  })
})

test('an optional parameter keeps its description and is not required', () => {
  const [parameter] = parametersOf(z.strictObject({ n: integer(0, 9).optional().describe('How many.') }))
  assert.deepEqual(parameter, {
    name: 'n',
    in: 'query',
    description: 'How many.',
    schema: { type: 'integer', minimum: 0, maximum: 9 },
  })
})

test('a part of the path is named as in the template and always required', () => {
  const { paths } = document([at({ path: () => z.strictObject({ id: z.uuid().optional() }) }, '/things/:id')])
  const [parameter] = paths['/things/{id}']['get']['parameters']
  assert.deepEqual([parameter.name, parameter.in, parameter.required], ['id', 'path', true])
})

test('problems of one status are one response with an example each, in the order of the registry', () => {
  const operation = at({ problems: ['threads-busy', 'not-found'] })
  const { paths, components } = document([operation], { everywhere: ['overloaded', 'internal-error'] })
  assert.deepEqual(paths['/thing']['get']['responses'], {
    204: { description: 'Done.' },
    404: { $ref: '#/components/responses/not-found' },
    500: { $ref: '#/components/responses/internal-error' },
    503: { $ref: '#/components/responses/overloaded.threads-busy' },
  })
  const both = components.responses['overloaded.threads-busy']
  assert.deepEqual(Object.keys(both.content['application/problem+json'].examples), ['overloaded', 'threads-busy'])
  assert.deepEqual(Object.keys(both.headers), ['Retry-After'])
})

test('only what takes time has a deadline, a header for it and a problem when it has passed', () => {
  const { instant: _, ...timed } = plain
  const { paths, components } = document([{ template: '/slow', method: 'get', operation: timed }, at({})])
  assert.deepEqual(paths['/slow']['get']['parameters'], [{ $ref: '#/components/parameters/x-deadline' }])
  assert.equal(components.parameters['x-deadline'].in, 'header')
  assert.deepEqual(Object.keys(paths['/slow']['get']['responses']), ['204', '400', '504'])
  assert.deepEqual(Object.keys(paths['/thing']['get']), ['operationId', 'summary', 'tags', 'responses'])
})

test('an answer of its own and problems with the same status are told apart by their types', () => {
  const own = { 503: { description: 'Not ready.', content: { 'application/json': () => z.strictObject({}) } } }
  const { paths } = document([at({ answers: own, problems: ['overloaded'] })])
  const response = paths['/thing']['get']['responses'][503]
  assert.deepEqual(Object.keys(response.content), ['application/json', 'application/problem+json'])
})

test('a JSON body can be too large or of another type; any body can be described as bytes', () => {
  const json = at({ body: { 'application/json': () => z.strictObject({ name: z.string().default('x') }) } })
  const bytes = at({ body: { 'application/octet-stream': 'bytes' } }, '/bytes')
  const { paths } = document([json, bytes])
  assert.deepEqual(Object.keys(paths['/thing']['get']['responses']), ['204', '400', '413', '415'])
  assert.equal(paths['/thing']['get'].requestBody.content['application/json'].schema.required, undefined)
  assert.deepEqual(paths['/bytes']['get'].requestBody, { required: true, content: { 'application/octet-stream': {} } })
})

const item = (): z.ZodType => z.strictObject({ id: z.uuid() }).meta({ title: 'Item' })

const otherItem = (): z.ZodType => z.strictObject({ name: z.string() }).meta({ title: 'Item' })

test('a schema with a name stands once among the components, wherever it is used', () => {
  const answers = { 200: { description: 'It.', content: { 'application/json': item } } }
  const list = { 200: { description: 'All.', content: { 'application/json': () => z.array(item()) } } }
  const { paths, components } = document([at({ answers }), at({ answers: list }, '/things')])
  const reference = { $ref: '#/components/schemas/Item' }
  assert.deepEqual(paths['/thing']['get']['responses'][200].content['application/json'].schema, reference)
  assert.deepEqual(paths['/things']['get']['responses'][200].content['application/json'].schema.items, reference)
  assert.equal(components.schemas.Item.title, 'Item')
})

test('two different schemas of one name are an error', () => {
  const content = { 'application/json': item, 'application/ld+json': otherItem }
  const both = [at({ answers: { 200: { description: 'It.', content } } })]
  assert.throws(() => document(both), /two schemas are called Item/)
})

test('operations of the admin port name its server, and those that need the token say so', () => {
  const { paths } = document([], { admin: [at({ problems: ['unauthorized'] }), at({}, '/open')] })
  const [server] = paths['/thing']['get']['servers']
  assert.deepEqual(server.variables, { host: { default: 'localhost' }, port: { default: '9464' } })
  assert.deepEqual(paths['/thing']['get']['security'], [{ adminToken: [] }])
  assert.equal(paths['/open']['get']['security'], undefined)
})

test('a key of the client is described where keys are known, and is optional', () => {
  const admin = [at({}, '/livez')]
  const { security, components, paths } = document([at({})], { keyHeader: 'x-api-key', admin })
  assert.deepEqual(paths['/livez']['get']['security'], [])
  assert.deepEqual(security, [{}, { clientKey: [] }])
  assert.equal(components.securitySchemes.clientKey.name, 'x-api-key')
  assert.equal(document([at({})])['security'], undefined)
})

test('every problem of the registry has a response and an example, whether an operation has it or not', () => {
  const { components, info } = document([])
  for (const [code, { status, title }] of Object.entries(problems)) {
    assert.ok(components.responses[code].content['application/problem+json'].examples[code], code)
    const { value } = components.examples[code]
    assert.deepEqual([value.type, value.status, value.title], [`/problems/${code}`, status, title])
    assert.ok(problemSchema().safeParse(value).success, code)
    assert.ok(info.description.includes(`\`${code}\``), code)
  }
  assert.deepEqual(Object.keys(components.examples), Object.keys(problems))
})

test('what a problem is made of is what the schema says, and nothing more', () => {
  const errors = [{ field: 'a', value: undefined, accepted: 'b', detail: 'c' }]
  const told = problemDetails({ code: 'invalid-request', detail: 'wrong', headers: {}, errors }, 'id')
  assert.deepEqual(problemSchema().parse(JSON.parse(JSON.stringify(told))), JSON.parse(JSON.stringify(told)))
  assert.equal(problemSchema().safeParse({ ...told, more: 1 }).success, false)
  assert.equal(problemSchema().safeParse({ ...told, code: 'no-such-code' }).success, false)
})

test('a document is valid OpenAPI 3.1, and made of the same bytes each time', async () => {
  const operations = [
    at({ query: z.strictObject({ ms: integers(0, 9, 3), n: integer(0, 9, 1) }), problems: ['threads-busy'] }),
    at({ path: () => z.strictObject({ id: z.uuid() }), description: 'More.', tag: 'other' }, '/things/:id', 'delete'),
  ]
  const make = () => document(operations, { everywhere: ['overloaded'], admin: [at({}, '/livez')], keyHeader: 'x-key' })
  assert.equal(JSON.stringify(make()), JSON.stringify(make()))
  const { valid, errors } = await new Validator().validate(make())
  assert.ok(valid, JSON.stringify(errors))
})
