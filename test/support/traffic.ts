/** Traffic that puts every part of a fleet to use, until it is told to end. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'

/** What was asked for and how it was answered: `GET /json 200` and how often; `failed` for no answer at all. */
export type Tally = ReadonlyMap<string, number>

export type Traffic = AsyncDisposable & { readonly tally: Tally }

type Asked = RequestInit & { readonly path: string; readonly atOnce?: number }

/** Repeats all of them, one kind beside the other, about `perSecond` rounds each, against each of the services. */
export const startTraffic = (urls: readonly string[], perSecond: number): Traffic => {
  const ending = new AbortController()
  const tally = new Map<string, number>()
  const loops = urls.flatMap((url) => [
    ...kinds.map((asked) => repeat(perSecond, ending.signal, () => burst(url, asked, tally))),
    repeat(perSecond, ending.signal, () => itemsLife(url, tally)),
    repeat(perSecond, ending.signal, () => uploadsLife(url, tally)),
  ])
  const end = async (): Promise<void> => {
    ending.abort()
    await Promise.all(loops)
  }
  return { tally, [Symbol.asyncDispose]: end }
}

const repeat = async (perSecond: number, signal: AbortSignal, once: () => Promise<unknown>): Promise<void> => {
  while (!signal.aborted) {
    await once()
    await sleep(1_000 / perSecond, undefined, { signal }).catch(() => {})
  }
}

/** Of each route and of each way to fail at least one, and bursts of what can be refused. */
const kinds: readonly Asked[] = [
  { path: '/' },
  { path: '/json' },
  { path: '/plaintext' },
  { path: '/problems' },
  { path: '/openapi.json' },
  { path: '/db' },
  { path: '/queries?queries=5' },
  { path: '/updates?queries=2' },
  { path: '/fortunes' },
  { path: '/cached-queries?count=5' },
  { path: '/work/wait?ms=20' },
  { path: '/work/wait?ms=400' },
  { path: '/work/wait?ms=1200' },
  { path: '/work/wait?ms=150', atOnce: 60 },
  { path: '/work/wait?ms=never' },
  { path: '/work/wait?ms=500', headers: { 'request-timeout-ms': '50' } },
  { path: '/work/gather?ms=5&ms=10' },
  { path: '/work/cpu?ms=5', atOnce: 10 },
  { path: '/work/thread?ms=20' },
  { path: '/work/block?ms=15' },
  { path: '/work/memory?mb=4&ms=5' },
  { path: '/work/mix?wait=5&cpu=2&queries=2' },
  { path: '/work/query?ms=100', atOnce: 12 },
  { path: '/work/query?ms=600' },
  { path: '/aggregate' },
  { path: '/aggregate?source=peer' },
  { path: '/nowhere' },
  { path: '/json', method: 'POST', body: 'x' },
  { path: '/items', method: 'POST', body: '{"name":', headers: { 'content-type': 'application/json' } },
]

const burst = (url: string, { atOnce = 1, ...asked }: Asked, tally: Map<string, number>): Promise<unknown> =>
  Promise.all(Array.from({ length: atOnce }, () => ask(url, asked, tally)))

type Answer = { readonly status: number; readonly headers: Headers; readonly text: string }

const ask = async (url: string, { path, ...init }: Asked, tally: Map<string, number>): Promise<Answer | undefined> => {
  const answer = await fetch(`${url}${path}`, init)
    .then(async (res): Promise<Answer> => ({ status: res.status, headers: res.headers, text: await res.text() }))
    .catch(() => undefined)
  const route = path.split('?')[0]!.replace(/[\da-f]{8}-[\da-f-]{27}/, ':id')
  const line = `${init.method ?? 'GET'} ${route} ${answer?.status ?? 'failed'}`
  tally.set(line, (tally.get(line) ?? 0) + 1)
  return answer
}

/** An item that is made, read twice, of which the second comes from the cache, changed and deleted. */
const itemsLife = async (url: string, tally: Map<string, number>): Promise<void> => {
  const json = { 'content-type': 'application/json' }
  const made = await ask(url, { path: '/items', method: 'POST', headers: json, body: '{"name":"a"}' }, tally)
  const path = made?.headers.get('location')
  if (typeof path !== 'string') return
  await ask(url, { path }, tally)
  const read = await ask(url, { path }, tally)
  const put = { method: 'PUT', headers: { ...json, ...ifMatch(read) }, body: '{"name":"b"}' }
  const changed = await ask(url, { path, ...put }, tally)
  await ask(url, { path, method: 'DELETE', headers: ifMatch(changed) }, tally)
  await ask(url, { path: '/items?limit=2' }, tally)
}

const ifMatch = (answer: Answer | undefined): Readonly<Record<string, string>> => ({
  'if-match': answer?.headers.get('etag') ?? '"none"',
})

const uploadsLife = async (url: string, tally: Map<string, number>): Promise<void> => {
  const made = await ask(url, { path: '/uploads', method: 'POST', body: 'x'.repeat(10_000) }, tally)
  const path = made?.headers.get('location')
  if (typeof path !== 'string') return
  await ask(url, { path }, tally)
  await ask(url, { path, method: 'DELETE' }, tally)
}

/** Requests of which is known how many were in flight, whatever else the machine does. */
export type KnownLoad = {
  /** The mean of requests in flight in the last `seconds`: by their plan, and by the service's account of its waits. */
  readonly meanInFlight: (seconds: number) => number
  /** Ends it; resolves with the number of requests that were answered, and of those that their client gave up. */
  readonly end: () => Promise<{ readonly answered: number; readonly givenUp: number }>
}

const heldRequests = 20
const pulse = { everyMs: 1_000, requests: 8, waitMs: 300 }

/**
 * Holds 20 requests in flight all the time, and 8 more for 300 ms of each second: looks at their number would mostly
 * miss those. For at most a minute, the longest wait of the service.
 */
export const startKnownLoad = (url: string): KnownLoad => {
  const ending = new AbortController()
  const { signal } = ending
  const held = Array.from({ length: heldRequests }, () =>
    fetch(`${url}/work/wait?ms=60000`, { signal }).catch(() => {}),
  )
  const pulses: { readonly endedMs: number; readonly tookMs: number }[] = []
  const wait = async (): Promise<void> => {
    const { tookMs } = await workOf(`${url}/work/wait?ms=${pulse.waitMs}`)
    pulses.push({ endedMs: performance.now(), tookMs })
  }
  const pulsing = keepPulsing(signal, wait)
  return {
    meanInFlight: (seconds) => {
      const sinceMs = performance.now() - seconds * 1_000
      const waitedMs = pulses.filter(({ endedMs }) => endedMs > sinceMs).map(({ tookMs }) => tookMs)
      return heldRequests + waitedMs.reduce((sum, ms) => sum + ms, 0) / (seconds * 1_000)
    },
    end: async () => {
      ending.abort()
      await Promise.all([pulsing, ...held])
      return { answered: pulses.length, givenUp: heldRequests }
    },
  }
}

/** Pulses when they are due, and those that come late at once: none is lost on a busy machine. */
const keepPulsing = async (signal: AbortSignal, wait: () => Promise<void>): Promise<void> => {
  const startMs = performance.now()
  const waits: Promise<void>[] = []
  for (let nth = 1; !signal.aborted; nth++) {
    waits.push(...Array.from({ length: pulse.requests }, wait))
    const dueMs = startMs + nth * pulse.everyMs
    await sleep(Math.max(0, dueMs - performance.now()), undefined, { signal }).catch(() => {})
  }
  await Promise.all(waits)
}

const workOf = async (url: string): Promise<{ readonly tookMs: number }> => {
  const res = await fetch(url)
  assert.equal(res.status, 200)
  return (await res.json()) as { tookMs: number }
}
