import type { ServiceContext } from './lean-koa.ts'

export type JsonAnswer = {
  /** Default 200. */
  readonly status?: number
  /** As a flat list of name, value, name, value. */
  readonly headers?: readonly string[]
}

/** Answers with a value as JSON. */
export const answerJson = (ctx: ServiceContext, value: unknown, { status = 200, headers }: JsonAnswer = {}): void =>
  ctx.reply(status, 'application/json', JSON.stringify(value), headers)
