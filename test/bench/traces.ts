/** Whether the traces that a row pays for really arrive: what the sink got, beside what was asked of the servers. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { table } from './print.ts'
import type { Server, ServerName } from './rows.ts'
import type { Spawned } from './servers.ts'
import type { Arrivals, Sink } from './sink-process.ts'
import type { Received } from './sink.ts'

type Running = Readonly<Partial<Record<ServerName, Spawned>>>

/** What one server sent, of the requests that it answered. */
export type Traced = {
  readonly name: ServerName
  readonly requests: number
  /** Requests whose span arrived. */
  readonly traced: number
  /** What was asked of it. */
  readonly share: number
  /** All its spans by who made them. */
  readonly spans: Readonly<Record<string, number>>
}

const scopeOf = (instrumentation: string): string => `@opentelemetry/instrumentation-${instrumentation}`

/**
 * Who must have made spans when a server has answered one request of a traced caller. pg's instrumentation begins a span
 * for each statement and ends it when pg calls back or keeps a promise; the service has neither on its hot path, so those
 * spans cost what they cost and never come. What does come is those of the connection that listens for notifications:
 * they belong to no request, and so only where everything is traced.
 */
const expectedOf = ({ name, tracedShare }: Server): readonly string[] => {
  if (!name.startsWith('auto')) return ['plimsoll']
  return [scopeOf('http'), scopeOf('koa'), ...(tracedShare === 1 ? [scopeOf('pg')] : [])]
}

const missing = (servers: readonly Server[], arrivals: Arrivals): readonly string[] =>
  servers.flatMap((server) =>
    expectedOf(server)
      .filter((scope) => (arrivals[server.name]?.scopes[scope]?.spans ?? 0) === 0)
      .map((scope) => `${server.name}: ${scope}`),
  )

const proofTimeoutMs = 20_000
const pollMs = 200

/** A caller's trace, which is sampled: whoever goes by its parent must record this request. */
const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

const readTraced = async ({ name, origin }: Spawned): Promise<void> => {
  const response = await fetch(`${origin}/db`, { headers: { traceparent } })
  assert.equal(response.status, 200, `${name} answers /db with ${response.status}: ${await response.text()}`)
}

/** Has each server trace a request, and throws unless the spans of everything that shall make some arrive. */
export const proveTracing = async (servers: readonly Server[], running: Running, sink: Sink): Promise<void> => {
  const startedAt = performance.now()
  const up = servers.filter(({ name }) => running[name] !== undefined)
  for (const { name } of up) await readTraced(running[name]!)
  let absent = missing(up, await sink.arrivals())
  while (absent.length > 0 && performance.now() - startedAt < proofTimeoutMs) {
    await sleep(pollMs)
    absent = missing(up, await sink.arrivals())
  }
  if (absent.length > 0) throw new Error(`no spans came of ${absent.join(', ')}`)
}

const tracedOf = (name: ServerName, share: number, requests: number, received: Received | undefined): Traced => {
  const scopes = Object.entries(received?.scopes ?? {})
  const traced = scopes.reduce((total, [, { server }]) => total + server, 0)
  return {
    name,
    share,
    requests,
    traced,
    spans: Object.fromEntries(scopes.map(([scope, { spans }]) => [scope, spans])),
  }
}

/** What became of the requests of all servers that were loaded and have a share to trace. */
export const tracedBy = (
  servers: readonly Server[],
  answered: Readonly<Partial<Record<ServerName, number>>>,
  arrivals: Arrivals,
): readonly Traced[] =>
  servers.flatMap(({ name, tracedShare }) => {
    const requests = answered[name] ?? 0
    return tracedShare === undefined || requests === 0 ? [] : tracedOf(name, tracedShare, requests, arrivals[name])
  })

/** Some are lost where a server is killed after its row, and more or less are drawn by chance. */
const tolerance = 0.05

/** What is to be said of a server whose traces did not arrive as asked, in this share; undefined: they did. */
export const complaint = ({ name, requests, traced, share }: Traced): string | undefined => {
  const arrived = traced / requests
  if (Math.abs(arrived - share) <= Math.max(share * tolerance, 0.001)) return undefined
  return `${name}: ${(arrived * 100).toFixed(1)} % of the requests arrived as traces, not ${share * 100} %: ${
    arrived < share ? 'the others were not exported, which its rows gain by' : 'its rows pay for too many'
  }`
}

const count = (value: number): string => value.toLocaleString('en')
const shortScope = (scope: string): string => scope.replace(scopeOf(''), '')

const line = ({ name, requests, traced, share, spans }: Traced): readonly string[] => [
  name,
  count(requests),
  count(traced),
  `${((traced / requests) * 100).toFixed(2)} %`,
  `${share * 100} %`,
  Object.entries(spans)
    .map(([scope, number]) => `${shortScope(scope)} ${count(number)}`)
    .join(', '),
]

/** The table of what the sink got, and complaints below it. */
export const reportTraces = (all: readonly Traced[]): string =>
  [
    table([['server', 'requests', 'traced', 'of requests', 'asked for', 'spans at the sink'], ...all.map(line)]),
    ...all.flatMap((each) => complaint(each) ?? []),
  ].join('\n')
