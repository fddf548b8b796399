import * as z from 'zod'
import type { ServiceContext } from './http/lean-koa.ts'
import { answerJson } from './http/json.ts'
import { type Answer, type Api, json, type Operation } from './http/api.ts'

/** What the probes tell of a process, or of several workers together. */
export type Health = {
  /** Has been ready once; from then on a start-up probe has nothing more to ask. */
  readonly started: boolean
  /** Takes traffic now. */
  readonly ready: boolean
  /** What is behind it, each in a few words for a person: `{ database: 'unreachable: connect ECONNREFUSED' }`. */
  readonly checks: Readonly<Record<string, string>>
}

/**
 * The probes of the admin port. `/livez` only says that the event loop turns: restarting cures nothing that the other
 * two report. `/readyz` and `/startupz` answer 503 with the reasons until there are none.
 */
export const probes = (api: Api, health: () => Health): void => {
  const probe =
    (passes: (health: Health) => boolean) =>
    (ctx: ServiceContext): void => {
      const now = health()
      const ok = passes(now)
      answerJson(ctx, { status: ok ? 'ok' : 'unavailable', checks: now.checks }, { status: ok ? 200 : 503 })
    }
  api.get('/livez', live, (ctx) => answerJson(ctx, { status: 'ok' }))
  api.get(
    '/readyz',
    ready,
    probe(({ ready }) => ready),
  )
  api.get(
    '/startupz',
    started,
    probe(({ started }) => started),
  )
}

const verdict = (status: 'ok' | 'unavailable'): NonNullable<Answer['content']> => ({
  'application/json': (): z.ZodType =>
    z.strictObject({
      status: z.literal(status),
      checks: z.record(z.string(), z.string()).describe('What is behind it, each in a few words for a person.'),
    }),
})

const passOrFail = (pass: string, fail: string): Operation['answers'] => ({
  200: { description: pass, content: verdict('ok') },
  503: { description: fail, content: verdict('unavailable') },
})

const live: Operation = {
  summary: 'Does the event loop turn?',
  description: 'For a liveness probe.',
  tag: 'probes',
  answers: json('It does.', () => z.strictObject({ status: z.literal('ok') })),
}

const ready: Operation = {
  summary: 'Does this replica take traffic?',
  description: 'For a readiness probe. From the start of a drain on it does not.',
  tag: 'probes',
  answers: passOrFail('It does.', 'Not now; `checks` says why.'),
}

const started: Operation = {
  summary: 'Has this replica been ready?',
  description: 'For a startup probe: once it has passed it passes always.',
  tag: 'probes',
  answers: passOrFail('It has.', 'Not yet; `checks` says what it waits for.'),
}
