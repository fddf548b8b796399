import type { DiagLogger } from '@opentelemetry/api'
import type { ReadableSpan } from '@opentelemetry/sdk-trace'
import type { Logger } from 'pino'
import type { Clock } from '../../kit/timers.ts'
import type { Config } from '../config.ts'
import type { Identity } from '../identity.ts'
import { type SpanOutcomes, watched } from './export-outcome.ts'
import { mostExcess, TracePump } from './export-pump.ts'
import { exportedSpans, type Origin } from './export-span.ts'
import { collectorOf, exporterFor } from './export-to.ts'
import type { TraceQueue } from './trace-queue.ts'

export type Tracing = NonNullable<NonNullable<Config['telemetry']>['tracing']>

export type ExportOptions = {
  readonly tracing: Tracing
  readonly identity: Identity
  readonly clock: Clock
  readonly log: Logger
  readonly queue: TraceQueue
  readonly outcomes: SpanOutcomes
}

/** Traces on their way to a collector. */
export type TraceExport = {
  /** Exports what is left, for so long at most. Resolves to the spans that were not exported by then. */
  close(withinMs: number): Promise<number>
}

type Sdk = typeof import('./export-sdk.ts')

/** Loads OpenTelemetry's SDK and has it export what comes to the queue. */
export const startExport = async (options: ExportOptions): Promise<TraceExport> => {
  const { tracing, clock, queue, log, outcomes } = options
  const batches = Math.ceil((tracing.queueSize + mostExcess) / tracing.batchSize)
  const sdk = await loadSdk()
  const exporter = await exporterFor(tracing, 2 * batches + 1)
  const processorOf = (onSettled: (spans: number) => void) => {
    const watch = { outcomes, log, collector: collectorOf(tracing), onSettled }
    return new sdk.BatchSpanProcessor({ exporter: watched(exporter, watch), ...batching(tracing) })
  }
  const processor = processorOf((spans) => pump.settle(spans))
  const origin = originOf(sdk, options)
  // With a queue of its own: the pump knows what it has handed over, and would count these spans as some of that.
  const node = startSdk(sdk, { processor: processorOf(() => {}), origin, log })
  const pump = new TracePump({
    queue,
    clock,
    capacity: tracing.queueSize,
    handOver: (traces) => {
      for (const trace of traces) for (const span of exportedSpans(trace, origin)) processor.onEnd(span)
    },
  })
  return { close: (withinMs) => close({ pump, processor, node, queue, clock }, withinMs) }
}

/** Lets whatever waits have its turn. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** All at once it would keep requests waiting; the parts come first, the rest of the SDK that stands on them last. */
const loadSdk = async (): Promise<Sdk> => {
  await import('@opentelemetry/core')
  await turn()
  await import('@opentelemetry/resources')
  await turn()
  await import('@opentelemetry/sdk-trace')
  await turn()
  return import('./export-sdk.ts')
}

/** An exporter gives up by itself after the timeout; the processor's own is there for one that does not. */
const exporterGraceMs = 1_000

const batching = ({ queueSize, batchSize, delayMs, timeoutMs }: Tracing) => ({
  // The pump keeps to the size that is configured, and the processor has room for all that the pump may hand over.
  maxQueueSize: queueSize + mostExcess,
  maxExportBatchSize: Math.min(batchSize, queueSize),
  scheduledDelayMillis: delayMs,
  exportTimeoutMillis: timeoutMs + exporterGraceMs,
})

const originOf = (sdk: Sdk, { tracing, identity }: ExportOptions): Origin => ({
  resource: sdk
    .defaultResource()
    .merge(
      sdk.detectResources({ detectors: [sdk.hostDetector, sdk.osDetector, withoutArguments(sdk.processDetector)] }),
    )
    .merge(
      sdk.resourceFromAttributes({
        'service.version': identity.version,
        'service.instance.id': identity.name,
        ...tracing.resource,
      }),
    ),
  scope: { name: identity.service, version: identity.version },
  epochMs: performance.timeOrigin,
  readState: sdk.createTraceState,
})

type Detector = Sdk['processDetector']

/** A command line may hold secrets. */
const withoutArguments = (detector: Detector) => ({
  detect: () => {
    const { attributes, ...more } = detector.detect()
    const { 'process.command_args': _args, 'process.command': _command, ...rest } = attributes ?? {}
    return { ...more, attributes: rest }
  },
})

type SdkParts = {
  readonly processor: InstanceType<Sdk['BatchSpanProcessor']>
  readonly origin: Origin
  readonly log: Logger
}

/** Whoever uses OpenTelemetry's API in this process has its spans exported, too: as of the same resource. */
const startSdk = (sdk: Sdk, { processor, origin, log }: SdkParts): InstanceType<Sdk['NodeSDK']> => {
  const node = new sdk.NodeSDK({
    spanProcessors: [processor],
    resource: origin.resource,
    autoDetectResources: false,
    // What comes through here was decided on before.
    sampler: new sdk.AlwaysOnSampler(),
    textMapPropagator: null,
    metricReaders: [],
    logRecordProcessors: [],
    instrumentations: [],
  })
  // The exporter's results are counted where they come in; here they would be told again, for each batch.
  sdk.setGlobalErrorHandler(() => {})
  sdk.diag.setLogger(onceEach(log), { logLevel: sdk.DiagLogLevel.WARN, suppressOverrideMessage: true })
  node.start()
  return node
}

const mostMessages = 32
const ignore = (): void => {}

/** The SDK's own warnings, each once: their first words alone, since the rest may hold what was sent or answered. */
const onceEach = (log: Logger): DiagLogger => {
  const told = new Set<string>()
  const tell = (message: string): void => {
    if (told.has(message) || told.size === mostMessages) return
    told.add(message)
    log.debug({ message }, 'OpenTelemetry')
  }
  return { error: tell, warn: tell, info: ignore, debug: ignore, verbose: ignore }
}

type Closing = {
  readonly pump: TracePump
  readonly processor: { onEnd(span: ReadableSpan): void; forceFlush(): Promise<void> }
  readonly node: { shutdown(): Promise<void> }
  readonly queue: TraceQueue
  readonly clock: Clock
}

const close = async (parts: Closing, withinMs: number): Promise<number> => {
  const { pump, queue, clock } = parts
  const { promise: late, resolve } = Promise.withResolvers<void>()
  const timer = clock.setTimeout(resolve, withinMs)
  await Promise.race([flush(parts), late])
  clock.clearTimeout(timer as never)
  pump.stop()
  return queue.spans + pump.unsettled
}

const flush = async ({ pump, processor, node, queue }: Closing): Promise<void> => {
  do {
    pump.push()
    // What fails is counted.
    await Promise.all([pump.settled(), processor.forceFlush().catch(() => {})])
  } while (queue.spans > 0 && !pump.stopped)
  await node.shutdown()
}
