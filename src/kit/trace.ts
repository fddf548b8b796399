import type { Clock } from './timers.ts'

export type SpanKind = 'internal' | 'server' | 'client'
export type AttributeValue = string | number | boolean | readonly string[]

/** The parent of a trace that began elsewhere: the fields of a `traceparent` and its `tracestate`. */
export type RemoteParent = {
  /** 32 hexadecimal digits. */
  readonly traceId: string
  /** 16 hexadecimal digits. */
  readonly spanId: string
  readonly sampled: boolean
  /** Passed on as it came. */
  readonly state: string | undefined
}

export type TraceOptions = {
  readonly clock: Clock
  readonly name: string
  readonly kind: SpanKind
  /** On the clock. */
  readonly startMs: number
  /** Whether it will be told: who is asked to work for a trace that will not be makes no spans for it. */
  readonly sampled: boolean
  readonly parent?: RemoteParent | undefined
  /** Undefined where the parent has one; otherwise makes 32 hexadecimal digits when they are first needed. */
  readonly newTraceId: () => string
  readonly newSpanId: () => string
}

/** A request that fans out may have thousands of parts; a trace of so many helps nobody and costs memory. */
export const mostSpans = 256

/**
 * What one request did and when, as plain records: a root span and those below it. It costs little while it is made: no
 * ids before they are needed, no attributes of what can be read later, nothing of an SDK. Who records it hands it over
 * when the root has ended.
 */
export class Trace {
  readonly root: Span
  /** All but the root, in the order in which they began; at most `mostSpans`. */
  readonly spans: Span[] = []
  /** Spans that were left out because there were `mostSpans`. */
  left = 0
  readonly parent: RemoteParent | undefined
  readonly options: TraceOptions
  sampled: boolean
  #id: string | undefined

  constructor(options: TraceOptions) {
    this.options = options
    this.parent = options.parent
    this.sampled = options.sampled
    this.#id = options.parent?.traceId
    this.root = new Span(this, undefined, options.name, options.kind, options.startMs)
  }

  get id(): string {
    return (this.#id ??= this.options.newTraceId())
  }
}

/** A stretch of time in a trace. It is open until `end`; who forgets that finds it ended with its trace. */
export class Span {
  readonly trace: Trace
  /** Undefined for the root, whose parent is the trace's, if any. */
  readonly parent: Span | undefined
  name: string
  readonly kind: SpanKind
  readonly startMs: number
  /** NaN while it is open. */
  endMs = NaN
  attributes: Record<string, AttributeValue> | undefined = undefined
  /** What went wrong, in a word of few: a class of errors, a code, a status. Undefined: nothing did. */
  errorType: string | undefined = undefined
  #id: string | undefined = undefined

  constructor(trace: Trace, parent: Span | undefined, name: string, kind: SpanKind, startMs: number) {
    this.trace = trace
    this.parent = parent
    this.name = name
    this.kind = kind
    this.startMs = startMs
  }

  get id(): string {
    return (this.#id ??= this.trace.options.newSpanId())
  }

  /**
   * Begins a part of this span, now unless told otherwise. Nothing is told of one that begins when its trace has ended: work
   * that others wait for, too, may go on then.
   */
  child(name: string, kind: SpanKind = 'internal', startMs: number = this.trace.options.clock.now()): Span {
    const { trace } = this
    const span = new Span(trace, this, name, kind, startMs)
    if (!Number.isNaN(trace.root.endMs)) return span
    if (trace.spans.length < mostSpans) trace.spans.push(span)
    else trace.left++
    return span
  }

  set(key: string, value: AttributeValue): this {
    ;(this.attributes ??= {})[key] = value
    return this
  }

  /** Ends it, now unless told otherwise; only the first time counts. */
  end(errorType?: string, endMs: number = this.trace.options.clock.now()): void {
    if (!Number.isNaN(this.endMs)) return
    this.endMs = endMs
    if (errorType !== undefined) this.errorType = errorType
  }
}

const traceparent = /^([\da-f]{2})-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})(-.*)?$/
const sampledFlag = 1
const longestState = 512

/**
 * The parent that a request's headers name; undefined where there is none, or one that cannot be read.
 * W3C Trace Context, https://www.w3.org/TR/trace-context/: a later version than 00 may have more fields, version ff and
 * ids of zeros are invalid. A `tracestate` of more than 512 characters need not be passed on.
 */
export const readParent = (parent: string | undefined, state: string | undefined): RemoteParent | undefined => {
  const [, version, traceId, spanId, flags, more] = (parent !== undefined && traceparent.exec(parent)) || []
  if (version === undefined || version === 'ff' || (version === '00' && more !== undefined)) return undefined
  if (/^0+$/.test(traceId!) || /^0+$/.test(spanId!)) return undefined
  return {
    traceId: traceId!,
    spanId: spanId!,
    sampled: (Number.parseInt(flags!, 16) & sampledFlag) !== 0,
    state: state !== undefined && state.length <= longestState ? state : undefined,
  }
}

/** Headers that make a span the parent of what another service does, as a flat list of name, value. */
export const parentHeaders = ({ id, trace }: Span): readonly string[] => {
  const parent = `00-${trace.id}-${id}-0${trace.sampled ? 1 : 0}`
  const state = trace.parent?.state
  return state === undefined ? ['traceparent', parent] : ['traceparent', parent, 'tracestate', state]
}
