/** The rows on what telemetry costs: everything on, against nothing at all and against the usual way to have it. */
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { LoadRow, Row, Server } from './rows.ts'

export type TelemetryServerName = 'off' | 'on' | 'on-0' | 'on-100' | 'auto' | 'auto-100'

/** Where the packages of `peers/auto-instrumentation` are installed. */
export const autoFolder = fileURLToPath(new URL('../../.plimsoll/bench/auto-instrumentation', import.meta.url))
const autoPackages = `${autoFolder}/node_modules/@opentelemetry`

const percent = (share: number): string => `${share * 100} %`

/** "Everything on" at 10 %: metrics of all requests, traces sent to the sink, a log line for each traced request. */
const own = (name: TelemetryServerName, share: number, entry: string, sinkUrl: string): Server => ({
  name,
  title: `Plimsoll with everything on: metrics, ${percent(share)} of requests traced to a live sink, logs`,
  command: [process.execPath, entry, 'serve'],
  env: {
    TELEMETRY: 'on',
    OTEL_EXPORTER_OTLP_ENDPOINT: `${sinkUrl}/${name}`,
    OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
    OTEL_TRACES_SAMPLER_ARG: String(share),
  },
  tracedShare: share,
})

/**
 * The same service with its own telemetry off and the standard one loaded in front of it, as its manual says for ES
 * modules. It can only see packages that are loaded as such: the entry is the compiled files before they are bundled.
 */
const auto = (name: TelemetryServerName, share: number, entry: string, sinkUrl: string): Server => ({
  name,
  title: `Plimsoll with TELEMETRY=off and the standard auto-instrumentation, ${percent(share)} of requests traced to the sink`,
  command: [
    process.execPath,
    '--no-warnings=ExperimentalWarning',
    `--experimental-loader=${autoPackages}/instrumentation/hook.mjs`,
    `--import=${autoPackages}/auto-instrumentations-node/dist/register.mjs`,
    join(dirname(entry), '../build/main.js'),
    'serve',
  ],
  env: {
    TELEMETRY: 'off',
    OTEL_SERVICE_NAME: 'plimsoll',
    OTEL_EXPORTER_OTLP_ENDPOINT: `${sinkUrl}/${name}`,
    OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
    OTEL_TRACES_SAMPLER_ARG: String(share),
    // The others ask the metadata services of clouds, which are not here, and wait for them.
    OTEL_NODE_RESOURCE_DETECTORS: 'env,host,os,process',
  },
  tracedShare: share,
})

export const telemetryServersOf = (entry: string, sinkUrl: string): Record<TelemetryServerName, Server> => ({
  off: {
    name: 'off',
    title: 'Plimsoll with TELEMETRY=off',
    command: [process.execPath, entry, 'serve'],
    env: { TELEMETRY: 'off' },
  },
  on: own('on', 0.1, entry, sinkUrl),
  'on-0': own('on-0', 0, entry, sinkUrl),
  'on-100': own('on-100', 1, entry, sinkUrl),
  auto: auto('auto', 0.1, entry, sinkUrl),
  'auto-100': auto('auto-100', 1, entry, sinkUrl),
})

const atLeast = (bar: number, stretch: number) => ({ direction: 'at least', bar, stretch }) as const
const atMost = (bar: number, stretch?: number) =>
  ({ direction: 'at most', bar, ...(stretch !== undefined && { stretch }) }) as const

const load = (row: Pick<LoadRow, 'name' | 'target'> & Partial<LoadRow>): LoadRow => ({
  kind: 'load',
  group: 'telemetry',
  subject: 'on',
  path: '/json',
  connections: 64,
  against: 'off',
  beside: [],
  wholeCoreOf: 'both',
  ...row,
})

export const telemetryRows: readonly Row[] = [
  load({ name: 'telemetry-bare', against: 'bare', target: atLeast(0.7, 0.8) }),
  load({ name: 'telemetry-off', target: atLeast(0.78, 0.9) }),
  load({ name: 'telemetry-auto', against: 'auto', target: atLeast(4.5, 6) }),
  load({ name: 'telemetry-0', subject: 'on-0', target: atLeast(0.88, 0.95) }),
  load({ name: 'telemetry-100', subject: 'on-100', beside: ['auto-100'], target: atLeast(0.5, 0.65) }),
  load({
    name: 'telemetry-db',
    path: '/db',
    beside: ['auto'],
    // Were the one without telemetry held up by Postgres, the ratio would flatter the other.
    wholeCoreOf: 'the other',
    target: atLeast(0.8, 0.92),
  }),
  load({
    name: 'telemetry-wait',
    path: '/work/wait?ms=100',
    connections: 1000,
    beside: ['auto'],
    wholeCoreOf: 'none',
    secondsAtLeast: 10,
    target: atLeast(0.97, 0.99),
  }),
  {
    kind: 'start',
    group: 'telemetry',
    name: 'telemetry-start',
    subject: 'on',
    path: '/json',
    against: 'off',
    beside: ['auto'],
    spawnsPerRound: 4,
    target: atMost(1.5, 1.1),
  },
  {
    kind: 'memory',
    group: 'telemetry',
    name: 'telemetry-memory',
    subject: 'on',
    path: '/json',
    connections: 64,
    against: 'off',
    beside: ['auto'],
    servers: 3,
    target: atMost(60),
  },
]
