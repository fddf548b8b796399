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
  items: '/items?limit=20',
  json: '/json',
  plaintext: '/plaintext',
  db: '/db',
  queries: '/queries?queries=20',
  updates: '/updates?queries=20',
  fortunes: '/fortunes',
  cachedQueries: '/cached-queries?count=20',
}

/** `GET /`: who answers, for how long it has run, and where to go from here. */
export const indexPage: Route = (api, { identity, clock }) => {
  const { service: name, version, revision, instance, worker } = identity
  api.get('/', { summary: '', answers: {} }, (ctx) => {
    const uptimeSeconds = Math.round(clock.now()) / 1000
    answerJson(ctx, { name, version, revision, instance, worker, uptimeSeconds, links })
  })
}
