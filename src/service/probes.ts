import type { ServiceContext } from './http/lean-koa.ts'
import { answerJson } from './http/json.ts'
import type { Api } from './http/api.ts'

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
  api.get('/livez', { summary: '', answers: {} }, (ctx) => answerJson(ctx, { status: 'ok' }))
  api.get(
    '/readyz',
    { summary: '', answers: {} },
    probe(({ ready }) => ready),
  )
  api.get(
    '/startupz',
    { summary: '', answers: {} },
    probe(({ started }) => started),
  )
}
