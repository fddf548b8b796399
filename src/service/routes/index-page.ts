import * as z from 'zod'
import { json, type Operation } from '../http/api.ts'
import { answerJson } from '../http/json.ts'
import type { Route } from './route.ts'

const links = {
  wait: '/work/wait?ms=100',
  gather: '/work/gather?ms=2000,3000,1000',
  cpu: '/work/cpu?ms=20',
  block: '/work/block?ms=20',
  thread: '/work/thread?ms=1000',
  query: '/work/query?ms=100',
  mix: '/work/mix?wait=20&cpu=5&queries=2',
  memory: '/work/memory?mb=64&ms=1000',
  aggregate: '/aggregate?source=weather&source=news',
  items: '/items?limit=20',
  uploads: '/uploads?limit=20',
  json: '/json',
  plaintext: '/plaintext',
  db: '/db',
  queries: '/queries?queries=20',
  updates: '/updates?queries=20',
  fortunes: '/fortunes',
  cachedQueries: '/cached-queries?count=20',
  docs: '/docs',
  openapi: '/openapi.json',
}

const operation: Operation = {
  summary: 'Who answers, and where to go from here',
  tag: 'service',
  instant: true,
  answers: json('The process that answers, and a link to each thing it does.', () =>
    z.strictObject({
      name: z.string(),
      version: z.string(),
      revision: z.string().describe('The commit that was built.'),
      instance: z.string().describe('The replica.'),
      worker: z.int().min(1).describe('Which process of the replica.'),
      uptimeSeconds: z.number().min(0),
      links: z.record(z.string(), z.string()),
    }),
  ),
}

/** `GET /`: who answers, for how long it has run, and where to go from here. */
export const indexPage: Route = (api, { identity, clock }) => {
  const { service: name, version, revision, instance, worker } = identity
  api.get('/', operation, (ctx) => {
    const uptimeSeconds = Math.round(clock.now()) / 1000
    answerJson(ctx, { name, version, revision, instance, worker, uptimeSeconds, links })
  })
}
