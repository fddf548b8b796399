import { aggregate } from './aggregate.ts'
import { indexPage } from './index-page.ts'
import { items } from './items.ts'
import { openApi } from './openapi.ts'
import { problemPages } from './problems.ts'
import type { Route } from './route.ts'
import { techempower } from './techempower.ts'
import { uploads } from './uploads.ts'
import { workCpu } from './work-cpu.ts'
import { workGather } from './work-gather.ts'
import { workMemory } from './work-memory.ts'
import { workMix } from './work-mix.ts'
import { workQuery } from './work-query.ts'
import { workWait } from './work-wait.ts'

/** All routes of the service. */
export const routes: readonly Route[] = [
  indexPage,
  workWait,
  workGather,
  workCpu,
  workQuery,
  workMix,
  workMemory,
  aggregate,
  items,
  uploads,
  techempower,
  problemPages,
  openApi,
]
