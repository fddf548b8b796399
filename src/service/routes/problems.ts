import * as z from 'zod'
import { problems, type ProblemCode } from '../../contract/problems.ts'
import { Failure } from '../../kit/errors.ts'
import { json, type Operation } from '../http/api.ts'
import { answerJson } from '../http/json.ts'
import { documented } from '../http/parameters.ts'
import type { Route } from './route.ts'

/** `GET /problems` and `GET /problems/:code`: what the `type` of a problem stands for (RFC 9457, section 3.1.1). */
export const problemPages: Route = (api) => {
  const all = Object.entries(problems).map(([code, problem]) => ({ type: `/problems/${code}`, code, ...problem }))
  api.get('/problems', list, (ctx) => answerJson(ctx, { problems: all }))
  api.get('/problems/:code', one, (ctx) => {
    const found = all.find(({ code }) => code === ctx.params['code'])
    if (found === undefined) throw new Failure<ProblemCode>('not-found', { detail: 'no problem has this code' })
    answerJson(ctx, found)
  })
}

const codes = Object.keys(problems) as [ProblemCode, ...ProblemCode[]]

const problemKind = (): z.ZodType =>
  z
    .strictObject({
      type: z.string().describe('The `type` of such a problem: where this very description is.'),
      code: z.enum(codes),
      status: z.int().min(400).max(599),
      title: z.string(),
    })
    .meta({ title: 'ProblemKind' })

const list: Operation = {
  summary: 'Every kind of problem that is told as application/problem+json',
  instant: true,
  answers: json('All kinds.', () => z.strictObject({ problems: z.array(problemKind()) })),
}

const one: Operation = {
  summary: 'What the type of a problem stands for',
  instant: true,
  path: () => z.strictObject({ code: z.string().register(documented, { schema: { type: 'string', enum: codes } }) }),
  answers: json('One kind.', problemKind),
  problems: ['not-found'],
}
