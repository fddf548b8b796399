import * as z from 'zod'
import { withToken } from '../faults/token.ts'
import type { Api, Operation } from '../http/api.ts'
import { answerJson } from '../http/json.ts'

export type DrainRouteDeps = {
  /** Begins the drain; once is enough. */
  readonly drain: () => void
  /** What a caller must show; undefined: nobody may call. */
  readonly token: string | undefined
}

/** `POST /drain` on the admin port: what SIGTERM does, for who cannot send signals to the process. */
export const drainRoute = (api: Api, { drain, token }: DrainRouteDeps): void =>
  api.post(
    '/drain',
    begin,
    withToken(token, (ctx) => {
      ctx.res.once('close', drain)
      answerJson(ctx, { status: 'draining' }, { status: 202 })
    }),
  )

const begin: Operation = {
  summary: 'Drain the replica, and end it',
  description:
    'As SIGTERM does: not ready at once, no new connections after DRAIN_DELAY_MS, what is in flight is finished, and ' +
    'the process ends with exit code 0.',
  tag: 'faults',
  answers: {
    202: {
      description: 'The drain begins as soon as this answer is out.',
      content: { 'application/json': () => z.strictObject({ status: z.literal('draining') }) },
    },
  },
  problems: ['unauthorized', 'faults-not-configured'],
}
