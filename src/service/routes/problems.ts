import { problems, type ProblemCode } from '../../contract/problems.ts'
import { Failure } from '../../kit/errors.ts'
import { answerJson } from '../http/json.ts'
import type { Route } from './route.ts'

/** `GET /problems` and `GET /problems/:code`: what the `type` of a problem stands for (RFC 9457, section 3.1.1). */
export const problemPages: Route = (api) => {
  const all = Object.entries(problems).map(([code, problem]) => ({ type: `/problems/${code}`, code, ...problem }))
  api.get('/problems', { summary: '', answers: {} }, (ctx) => answerJson(ctx, { problems: all }))
  api.get('/problems/:code', { summary: '', answers: {} }, (ctx) => {
    const found = all.find(({ code }) => code === ctx.params['code'])
    if (found === undefined) throw new Failure<ProblemCode>('not-found', { detail: 'no problem has this code' })
    answerJson(ctx, found)
  })
}
