/**
 * `npm run bench:telemetry-parts`: what telemetry adds to a request, part by part, in one process without a network.
 *
 *     node test/bench/telemetry-parts.ts [--rounds 15] [--batch-ms 20] [--json FILE]
 *
 * Each part runs in a loop over the contexts of 64 requests; what the loop takes without a part is taken off. The parts
 * take turns and the median of the rounds counts. "a request" is what a part costs at 10 % sampling: one that only traced
 * requests need costs a tenth. Loops flatter: everything is in the caches of the core. What the service loses under load
 * is measured by `npm run bench -- telemetry`; this says which part it goes to.
 */
import { openSync, writeSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { parseArgs } from 'node:util'
import { ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer'
import { resourceFromAttributes } from '@opentelemetry/resources'
import prometheus from '@prometheus-io/client'
import { requestBounds } from '../../src/contract/metrics.ts'
import { Buckets, Level } from '../../src/kit/metrics.ts'
import { processClock } from '../../src/kit/timers.ts'
import type { Trace } from '../../src/kit/trace.ts'
import { parseConfig } from '../../src/service/config.ts'
import { LeanKoa, type ServiceContext } from '../../src/service/http/lean-koa.ts'
import { exportedSpans, type Origin } from '../../src/service/telemetry/export-span.ts'
import { LogOutput } from '../../src/service/telemetry/log-output.ts'
import { createLog } from '../../src/service/telemetry/log.ts'
import { tellLog } from '../../src/service/telemetry/request-log.ts'
import { RequestTelemetry, type Told } from '../../src/service/telemetry/requests.ts'
import { Sampler } from '../../src/service/telemetry/sampler.ts'
import { TraceQueue } from '../../src/service/telemetry/trace-queue.ts'
import { table } from './print.ts'
import { costOf, type Part, type PartResult, runParts, sumOf } from './parts.ts'

const share = 0.1
const sloMs = 250
const clock = processClock

/** As a small client sends it: what is looked through for a `traceparent`. */
const rawHeaders = ['Host', '127.0.0.1:8080', 'User-Agent', 'bench/1.0', 'Accept', '*/*', 'Accept-Encoding', 'gzip']

const app = new LeanKoa()

const newContext = (): ServiceContext => {
  const req = { method: 'GET', url: '/json', rawHeaders, httpVersion: '1.1' } as unknown as IncomingMessage
  const ctx = app.createContext(req, { statusCode: 200 } as ServerResponse) as unknown as ServiceContext
  ctx._matchedRoute = '/json'
  return ctx
}

const contexts = Array.from({ length: 64 }, newContext)
const contextAt = (i: number): ServiceContext => contexts[i & 63]!

/** Takes what parts make, so that none of it can be left out. */
const taken: { it: unknown } = { it: undefined }
const log = createLog({
  config: parseConfig({}, { name: 'plimsoll', version: '1', revision: 'bench' }),
  instance: 'bench',
  output: new LogOutput({ clock, write: (bytes) => writeSync(devNull, bytes) }),
})
const devNull = openSync('/dev/null', 'w')

const samplerAt = (ratio: number, random = Math.random): Sampler =>
  new Sampler({ parentBased: true, ratio }, { clock, random })

const always = samplerAt(1)
const never = samplerAt(0)
const drawing = samplerAt(share)

const newTrace = (children: number): Trace => {
  const trace = always.sample(contextAt(0).req, clock.now())!
  const { root } = trace
  for (let child = 0; child < children; child++) root.child('a statement', 'client').set('db.system.name', 'pg').end()
  root.name = 'GET /json'
  root.set('http.request.method', 'GET').set('http.response.status_code', 200).set('url.scheme', 'http')
  root.set('network.protocol.version', '1.1').set('plimsoll.recorded', 'sampled')
  root.set('http.route', '/json').set('url.path', '/json').end()
  return trace
}

const origin: Origin = {
  resource: resourceFromAttributes({ 'service.name': 'plimsoll' }),
  scope: { name: 'plimsoll', version: '1' },
  epochMs: performance.timeOrigin,
  readState: () => undefined as never,
}

/** As many spans as go to the collector at once. */
const batch = 512

const exporting = (children: number) => {
  const traces = Array.from({ length: batch / (1 + children) }, () => newTrace(children))
  return (): unknown =>
    ProtobufTraceSerializer.serializeRequest(traces.flatMap((trace) => exportedSpans(trace, origin)))
}

const told = (trace: Trace): Told => ({
  reason: 'sampled',
  method: 'GET',
  route: '/json',
  status: 200,
  tookMs: 1.234,
  problem: undefined,
  failure: undefined,
  requestId: undefined,
  trace,
})

/** Began and ended, as the service has it, with nothing behind but what `tell` does. */
const whole = (sampler: Sampler | undefined, tell: (told: Told) => void): ((i: number) => void) => {
  const requests = new RequestTelemetry({ clock, sloMs, slowMs: 1_000, sampler, tell })
  return (i) => {
    const ctx = contextAt(i)
    ctx.trace = undefined
    requests.began(ctx)
    requests.ended(ctx)
  }
}

/** Traces go to a queue that is emptied now and then, without the export. */
const telling = (): ((told: Told) => void) => {
  const queue = new TraceQueue()
  const write = tellLog(log)
  return (request) => {
    if (request.trace !== undefined) queue.add(request.trace)
    if (queue.spans > batch) queue.take(batch)
    write(request)
  }
}

const level = new Level()
const buckets = new Buckets(requestBounds(sloMs))
const names = { labelNames: ['method', 'route', 'status'], buckets: [...requestBounds(sloMs)], registers: [] } as const
const theirs = new prometheus.Histogram({ ...names, name: 'theirs', help: 'theirs' } as never)
const line = tellLog(log)
const oneTrace = newTrace(0)

const parts: readonly Part[] = [
  { name: 'two looks at the clock', share: 1, run: () => (taken.it = clock.now() + clock.now()) },
  {
    name: 'in-flight level, up and down',
    share: 1,
    run: (i) => {
      level.add(i)
      level.remove(i)
    },
  },
  { name: 'histogram, one observation', share: 1, run: (i) => buckets.observe((i & 63) / 10_000) },
  { name: 'sampling decision: no', share: 1, run: (i) => (taken.it = never.sample(contextAt(i).req, i)) },
  { name: 'trace: root, 7 attributes, two ids', share, run: () => (taken.it = withIds(newTrace(0))) },
  {
    name: 'exemplar',
    share,
    run: (i) => buckets.exemplify((i & 63) / 10_000, { trace_id: oneTrace.id, span_id: oneTrace.root.id }, i),
  },
  { name: 'log line, to /dev/null', share, run: () => line(told(oneTrace)) },
  { name: 'SDK span and protobuf, root', share, each: batch, run: take(exporting(0)) },
]

const compared: readonly Part[] = [
  { name: 'trace: the same without ids', share, run: () => (taken.it = newTrace(0)) },
  { name: 'trace: root and 3 children, without ids', share, run: () => (taken.it = newTrace(3)) },
  { name: 'SDK spans and protobuf, 4 of a trace', share, each: batch / 4, run: take(exporting(3)) },
  { name: 'began and ended, no tracing', share: 1, run: whole(undefined, telling()) },
  { name: 'began and ended, 0 % traced', share: 1, run: whole(never, telling()) },
  { name: 'began and ended, 10 % traced, logged', share: 1, run: whole(drawing, telling()) },
  { name: 'began and ended, 100 % traced, logged', share: 1, run: whole(always, telling()) },
  {
    name: '@prometheus-io/client: observe with 3 labels',
    share: 1,
    run: (i) => theirs.observe({ method: 'GET', route: '/json', status: '2xx' } as never, (i & 63) / 10_000),
  },
]

function take(run: () => unknown): () => void {
  return () => {
    taken.it = run()
  }
}

function withIds(trace: Trace): Trace {
  taken.it = trace.id + trace.root.id
  return trace
}

const nanoseconds = (value: number): string => value.toFixed(value < 100 ? 1 : 0)
const microseconds = (ns: number): string => (ns / 1_000).toFixed(3)

const lineOf = ({ part, ns }: PartResult): readonly string[] => [
  part.name,
  nanoseconds(ns.median),
  `${nanoseconds(ns.min)}..${nanoseconds(ns.max)}`,
  `${part.share * 100} %`,
  microseconds(costOf({ part, ns })),
]

const head = ['part', 'ns each', 'min..max', 'of requests', 'µs a request']

const report = (results: readonly PartResult[]): string => {
  const measured = results.filter(({ part }) => parts.includes(part))
  const others = results.filter(({ part }) => !parts.includes(part))
  const sum = ['sum at 10 % sampling', '', '', '', microseconds(sumOf(measured))]
  return [table([head, ...measured.map(lineOf), sum]), table([head, ...others.map(lineOf)])].join('\n\n')
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '15' },
    'batch-ms': { type: 'string', default: '20' },
    json: { type: 'string' },
  },
})
const results = runParts([...parts, ...compared], {
  rounds: Number(values.rounds),
  batchMs: Number(values['batch-ms']),
})
process.stdout.write(`${report(results)}\n`)
if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(results, undefined, 2)}\n`)
