import * as z from 'zod'
import type { ProblemCode } from '../../contract/problems.ts'
import { Failure } from '../../kit/errors.ts'
import { json } from '../http/api.ts'
import { cancellation } from '../http/cancellation.ts'
import { answerJson } from '../http/json.ts'
import { integer, parameters } from '../http/parameters.ts'
import { block } from '../work/block.ts'
import type { Route } from './route.ts'
import { askedMs, burn, tookMs } from './schemas.ts'

/** `GET /work/cpu?ms=`, `/work/block?ms=`, `/work/thread?ms=`: the same time in a thread, on the event loop, asleep. */
export const workCpu: Route = (api, { config, threads }) => {
  const query = z.strictObject({ ms: integer(0, config.work.maxMs) })

  const cpu = {
    summary: 'Use CPU time in a thread',
    description: `${inThread} Other requests are served meanwhile, as long as there is a core for them.`,
    query,
    answers: json('After the work.', burn),
    problems: threadProblems,
  }
  api.get('/work/cpu', cpu, async (ctx) => {
    const { ms } = parameters(ctx, query)
    ctx.requestedMs = ms
    answerJson(ctx, { ms, ...(await threads.cpu(ms, cancellation(ctx))) })
  })

  const blocking = {
    summary: 'Use CPU time on the event loop',
    description: 'A mistake made on purpose: it shows what one such request does to all others of the same process.',
    query,
    answers: json('After the work.', burn),
  }
  api.get('/work/block', blocking, (ctx) => {
    const { ms } = parameters(ctx, query)
    ctx.requestedMs = ms
    const cancel = cancellation(ctx)
    const isLate = (): boolean => cancel.remainingMs <= 0
    const burnt = block(ms, isLate)
    // The timer behind the deadline had no turn: it is this loop that was blocked.
    if (isLate()) throw new Failure<ProblemCode>('deadline-exceeded', { detail: 'stopped at the deadline' })
    answerJson(ctx, { ms, ...burnt })
  })

  const asleep = {
    summary: 'Block a thread',
    description: `${inThread} It is blocked as by a synchronous call: the pool is occupied, the cores are idle.`,
    query,
    answers: json('After the call.', () => z.strictObject({ ms: askedMs(), tookMs: tookMs() })),
    problems: threadProblems,
  }
  api.get('/work/thread', asleep, async (ctx) => {
    const { ms } = parameters(ctx, query)
    ctx.requestedMs = ms
    answerJson(ctx, { ms, ...(await threads.sleep(ms, cancellation(ctx))) })
  })
}

const inThread = 'The pool has `THREADS` threads and a queue of `THREAD_QUEUE` tasks; what does not fit is refused.'

const threadProblems: readonly ProblemCode[] = ['threads-busy', 'draining']
