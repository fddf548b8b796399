import type { Logger } from 'pino'
import * as z from 'zod'
import type { FaultControl } from '../faults/control.ts'
import { crashKinds } from '../faults/crash.ts'
import { noFaults, parsePlan, planSchema } from '../faults/plan.ts'
import { withToken } from '../faults/token.ts'
import { type Api, json, type Operation } from '../http/api.ts'
import { readJson } from '../http/body.ts'
import { answerJson } from '../http/json.ts'
import type { ServiceContext } from '../http/lean-koa.ts'

export type FaultRouteDeps = {
  readonly faults: FaultControl
  /** What a caller must show; undefined: nobody may call. */
  readonly token: string | undefined
  readonly log: Logger
}

/** No plan is longer. */
const maxBodyBytes = 16_384

/** `/faults` on the admin port: what goes wrong on this replica, on purpose. */
export const faultRoutes = (api: Api, { faults, token, log }: FaultRouteDeps): void => {
  const answerReport = async (ctx: ServiceContext): Promise<void> => answerJson(ctx, await faults.report())

  api.get('/faults', read, withToken(token, answerReport))

  api.put(
    '/faults',
    replace,
    withToken(token, async (ctx) => {
      const plan = parsePlan((await readJson(ctx, anything(), maxBodyBytes)).data)
      log.warn({ faults: plan }, 'faults set')
      await faults.set(plan)
      await answerReport(ctx)
    }),
  )

  api.delete(
    '/faults',
    end,
    withToken(token, async (ctx) => {
      log.warn('faults ended')
      await faults.set(noFaults)
      await answerReport(ctx)
    }),
  )

  api.post(
    '/faults/crash',
    crash,
    withToken(token, async (ctx) => {
      const { how, worker } = await crashRequest(ctx)
      const crashing = faults.crashing(how, worker)
      log.warn({ how, worker: crashing.worker }, 'crash asked for')
      // The answer goes out first, or its reader has left; both close the response.
      ctx.res.once('close', crashing.crash)
      answerJson(ctx, { crashing: { how, worker: crashing.worker } }, { status: 202 })
    }),
  )
}

/** `parsePlan` reads it: it can name a mistake within a field. */
const anything = (): z.ZodObject => z.looseObject({})

const crashSchema = () =>
  z.strictObject({
    how: z
      .enum(crashKinds, `one of ${crashKinds.join(', ')}`)
      .default('exception')
      .describe('By an error that nobody catches (exit code 1), or by SIGKILL, as when memory runs out.'),
    worker: z
      .int('the number of a worker')
      .optional()
      .describe('Which worker, where there are several. Default: the first that runs.'),
  })

const crashRequest = async (ctx: ServiceContext): Promise<z.output<ReturnType<typeof crashSchema>>> => {
  const { 'content-length': length = '0', 'transfer-encoding': coding } = ctx.req.headers
  const schema = crashSchema()
  if (length === '0' && coding === undefined) return schema.parse({})
  return (await readJson(ctx, schema, maxBodyBytes)).data
}

const count = (description: string): z.ZodType => z.int().min(0).describe(description)
const ms = (description: string): z.ZodType => z.number().min(0).describe(description)

const counts = () => ({
  requests: count('Requests that came while there were faults.'),
  delayedRequests: count('Those of them that were made to wait.'),
  addedLatencyMs: ms('How long they were made to wait, in all.'),
  failedRequests: count('Those that were answered `injected-fault`.'),
  stalls: count('Times that the event loop was stalled.'),
  leakedMb: count('MiB that are held now.'),
})

const report = (): z.ZodType =>
  z.strictObject({
    active: z.boolean().describe('Whether there are faults now.'),
    faults: planSchema().describe('Those in effect, with the defaults of what was left out.'),
    activeForMs: ms('For how long they have been in effect; 0 when none are.'),
    endsInMs: ms('When they end by themselves, from now.').nullable(),
    counts: z.strictObject(counts()).describe('What they have done since they were set; kept when they have ended.'),
    workers: z
      .array(
        z.strictObject({
          worker: z.int().min(1),
          silent: z.boolean().describe('It is gone or too busy to answer: the counts are the last that it told.'),
          ...counts(),
        }),
      )
      .describe('Where there are several: what each counts since it started.')
      .optional(),
  })

const problems = ['unauthorized', 'faults-not-configured'] as const

const read: Operation = {
  summary: 'Which faults are in effect, and what they have done',
  tag: 'faults',
  answers: json('The faults of this replica.', report),
  problems,
}

const replace: Operation = {
  summary: 'Set all faults of this replica',
  description:
    'The body is the whole state: what is absent is off. The faults begin anew, with the random numbers of their ' +
    'seed, the counts at 0 and what was leaked before freed: to set the same state again is to repeat the experiment. ' +
    'They meet the requests of the service; probes and this port stay without, but for stalls, which hold up all ' +
    'that the process does.',
  tag: 'faults',
  body: { 'application/json': planSchema },
  answers: json('They are in effect, in every worker that runs.', report),
  problems: [...problems, 'invalid-request', 'malformed-request', 'unsupported-media-type', 'body-too-large'],
}

const end: Operation = {
  summary: 'End all faults',
  description: 'Leaked memory is free at once, stalls stop, the replica is ready again. A request that waits waits on.',
  tag: 'faults',
  answers: json('None are in effect.', report),
  problems,
}

const crash: Operation = {
  summary: 'Crash the process, or one of its workers',
  description:
    'Without a drain: what is in flight is lost. A worker is replaced by its parent within two seconds; a process on ' +
    'its own by whoever has started it.',
  tag: 'faults',
  body: { 'application/json': crashSchema },
  answers: {
    202: {
      description: 'It crashes as soon as this answer is out.',
      content: {
        'application/json': () =>
          z.strictObject({ crashing: z.strictObject({ how: z.enum(crashKinds), worker: z.int().min(1) }) }),
      },
    },
  },
  problems: [
    ...problems,
    'invalid-request',
    'malformed-request',
    'unsupported-media-type',
    'body-too-large',
    'conflict',
  ],
}
