import type { Logger } from 'pino'
import type { LeanKoa, ServiceContext } from '../http/lean-koa.ts'

/**
 * Logs what failed in an application. Where its requests are observed, their own line tells of it (see `request-log.ts`),
 * but for what comes when that is written already.
 */
export const logFailures = (app: LeanKoa, log: Logger): void => {
  app.on('error', (err: unknown, ctx?: ServiceContext) => {
    if (app.observer !== undefined && ctx?.ended === false) return
    log.error({ route: ctx?._matchedRoute, requestId: ctx?.requestId, err }, 'request failed')
  })
}
