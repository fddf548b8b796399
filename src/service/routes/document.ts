import * as z from 'zod'
import type { ProblemCode } from '../../contract/problems.ts'
import type { Config } from '../config.ts'
import { Api, type DescribedOperation } from '../http/api.ts'
import { type Json, openApiDocument } from '../http/openapi.ts'
import { integer, type ParameterSchema } from '../http/parameters.ts'
import { probes } from '../probes.ts'
import { type ControlDeps, controlRoutes } from './admin.ts'

/** Describes all that a service answers on both of its ports, as configured; `operations` are those of its first one. */
export const serviceDocument = (operations: readonly DescribedOperation[], config: Config): Json =>
  openApiDocument({
    title: 'Plimsoll service',
    version: config.build.version,
    description: about,
    service: {
      operations,
      common: { headers: priority(config), problems: serviceProblems },
      timed: { headers: deadline(config), problems: ['deadline-exceeded'] },
    },
    admin: {
      operations: adminOperations(),
      common: { problems: everywhere },
      port: config.admin.port || defaultAdminPort,
    },
    keyHeader: keyHeader(config),
  })

/** Where no keys are known, none means anything. */
const keyHeader = ({ rateLimit }: Config): string | undefined =>
  rateLimit === undefined || rateLimit.keys.size === 0 ? undefined : rateLimit.keyHeader

const defaultAdminPort = 9464

const about = `
A stateless HTTP service made for scaling experiments: each operation asks one question about concurrency.

* Every answer names the process that gave it in \`Plimsoll-Instance\`.
* Every \`GET\` answers \`HEAD\`, too; \`OPTIONS\` says which methods a path has.
* Unless an operation says otherwise, a query parameter that it does not know is a mistake, and so is one given twice.
* Every answer outside 2xx and 3xx is \`application/problem+json\` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)); its
  \`code\` is one of those below, and its \`type\` a path where the code is described.
`.trim()

/** What a request can be told by its parser, and when something breaks. */
const everywhere: readonly ProblemCode[] = [
  'malformed-request',
  'request-timeout',
  'expectation-failed',
  'headers-too-large',
  'internal-error',
]

const serviceProblems: readonly ProblemCode[] = [
  ...everywhere,
  'rate-limited',
  'overloaded',
  'rate-limit-unavailable',
  'injected-fault',
]

const priority = ({ admission: { priorityHeader } }: Config): ParameterSchema =>
  z.strictObject({
    ...(priorityHeader !== undefined && {
      [priorityHeader]: z
        .enum(['critical', 'normal', 'sheddable'])
        .default('normal')
        .describe('What is refused last and what first when there is more than can be served.'),
    }),
  })

const longestDeadlineMs = 86_400_000

const deadline = ({ deadline: { header, defaultMs } }: Config): ParameterSchema =>
  z.strictObject({
    [header]: integer(1, longestDeadlineMs)
      .optional()
      .describe(`How long the client waits, in ms; it can only shorten the service's own ${defaultMs} ms.`),
  })

/** Routes only name what they work with when they are added, and nobody calls the handlers of these. */
const adminOperations = (): readonly DescribedOperation[] => {
  const admin = new Api()
  probes(admin, () => ({ started: false, ready: false, checks: {} }))
  controlRoutes(admin, {} as ControlDeps)
  return admin.operations
}
