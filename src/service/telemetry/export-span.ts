import type { Attributes, HrTime, SpanContext, SpanStatus, TraceState } from '@opentelemetry/api'
import type { ReadableSpan } from '@opentelemetry/sdk-trace'
import type { Span, SpanKind, Trace } from '../../kit/trace.ts'

/** What all spans of a process have in common. */
export type Origin = {
  readonly resource: ReadableSpan['resource']
  readonly scope: ReadableSpan['instrumentationScope']
  /** When the clock of the traces was at 0, in ms since 1970. */
  readonly epochMs: number
  /** Reads a `tracestate`. */
  readonly readState: (text: string) => TraceState
}

/**
 * The spans of a trace as the SDK's processors and exporters take them, a parent before its children. They are made
 * without `tracer.startSpan`, in a third of the time: all is known of them, the ids too, which other services, logs and
 * exemplars have been told. A span that is still open ends with its trace and is marked; one that went wrong has its
 * `error.type`.
 */
export const exportedSpans = (trace: Trace, origin: Origin): ReadableSpan[] => {
  const state = trace.parent?.state
  const shared = { origin, trace, state: state === undefined ? undefined : origin.readState(state) }
  if (trace.left > 0) trace.root.set('plimsoll.spans_left_out', trace.left)
  const spans: ReadableSpan[] = [new ExportedSpan(trace.root, remoteParent(shared), shared)]
  for (const span of trace.spans) spans.push(new ExportedSpan(span, contextOf(span.parent!, shared), shared))
  return spans
}

type Shared = { readonly origin: Origin; readonly trace: Trace; readonly state: TraceState | undefined }

// Those of `@opentelemetry/api`, which would have to be loaded for them.
const kinds = { internal: 0, server: 1, client: 2 } as const satisfies Record<SpanKind, number>
const statuses = { unset: { code: 0 }, error: { code: 2 } } as const satisfies Record<string, SpanStatus>
const sampled = 1

const none: never[] = []

class ExportedSpan implements ReadableSpan {
  readonly name: string
  readonly kind: number
  readonly parentSpanContext?: SpanContext
  readonly startTime: HrTime
  readonly endTime: HrTime
  readonly status: SpanStatus
  readonly attributes: Attributes
  readonly resource: ReadableSpan['resource']
  readonly instrumentationScope: ReadableSpan['instrumentationScope']
  readonly links = none
  readonly events = none
  readonly ended = true
  readonly droppedAttributesCount = 0
  readonly droppedEventsCount = 0
  readonly droppedLinksCount = 0
  readonly #context: SpanContext

  constructor(span: Span, parent: SpanContext | undefined, shared: Shared) {
    const { epochMs, resource, scope } = shared.origin
    const endMs = endOf(span, shared.trace)
    if (span.errorType !== undefined) span.set('error.type', span.errorType)
    this.name = span.name
    this.kind = kinds[span.kind]
    if (parent !== undefined) this.parentSpanContext = parent
    this.startTime = timeOf(epochMs + span.startMs)
    this.endTime = timeOf(epochMs + endMs)
    this.status = span.errorType === undefined ? statuses.unset : statuses.error
    this.attributes = span.attributes ?? {}
    this.resource = resource
    this.instrumentationScope = scope
    this.#context = contextOf(span, shared)
  }

  spanContext(): SpanContext {
    return this.#context
  }

  get duration(): HrTime {
    const [seconds, nanoseconds] = this.endTime
    const [startSeconds, startNanoseconds] = this.startTime
    const less = nanoseconds < startNanoseconds ? 1 : 0
    return [seconds - startSeconds - less, nanoseconds - startNanoseconds + less * 1e9]
  }
}

const contextOf = ({ id, trace }: Span, { state }: Shared): SpanContext =>
  state === undefined
    ? { traceId: trace.id, spanId: id, traceFlags: sampled }
    : { traceId: trace.id, spanId: id, traceFlags: sampled, traceState: state }

const remoteParent = ({ trace: { parent }, state }: Shared): SpanContext | undefined =>
  parent && {
    traceId: parent.traceId,
    spanId: parent.spanId,
    traceFlags: parent.sampled ? sampled : 0,
    isRemote: true,
    ...(state && { traceState: state }),
  }

const endOf = (span: Span, { root }: Trace): number => {
  if (!Number.isNaN(span.endMs)) return Math.max(span.startMs, span.endMs)
  span.set('plimsoll.unfinished', true)
  return Math.max(span.startMs, root.endMs)
}

const timeOf = (wallMs: number): HrTime => {
  const seconds = Math.floor(wallMs / 1_000)
  return [seconds, Math.round((wallMs - seconds * 1_000) * 1e6)]
}
