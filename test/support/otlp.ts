/** What OTLP's requests with traces look like, and how their protobuf form is read. */
import protobuf from 'protobufjs'

export type OtlpValue = {
  readonly stringValue?: string
  readonly boolValue?: boolean
  readonly intValue?: number | string
  readonly doubleValue?: number
  readonly arrayValue?: { readonly values?: readonly OtlpValue[] }
  readonly kvlistValue?: { readonly values?: readonly { readonly key: string; readonly value?: OtlpValue }[] }
}

type Attributes = readonly { readonly key: string; readonly value?: OtlpValue }[]

export type OtlpTraces = {
  readonly resourceSpans?: readonly {
    readonly resource?: { readonly attributes?: Attributes }
    readonly scopeSpans?: readonly {
      readonly scope?: { readonly name?: string; readonly version?: string }
      readonly spans?: readonly {
        /** Hexadecimal, as `spanId` and `parentSpanId`. */
        readonly traceId: string
        readonly spanId: string
        readonly parentSpanId?: string
        readonly traceState?: string
        readonly flags?: number
        readonly name: string
        readonly kind?: number
        readonly startTimeUnixNano: string
        readonly endTimeUnixNano: string
        readonly attributes?: Attributes
        readonly status?: { readonly code?: number; readonly message?: string }
      }[]
    }[]
  }[]
}

// The messages of a request with traces, from opentelemetry-proto 1.9 (collector/trace/v1/trace_service.proto and what it
// imports), without events and links, which the service has none of. Enumerations are read as numbers, as in JSON.
const schema = `
syntax = "proto3";
message Traces { repeated ResourceSpans resource_spans = 1; }
message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; }
message ScopeSpans { Scope scope = 1; repeated Span spans = 2; }
message Resource { repeated KeyValue attributes = 1; }
message Scope { string name = 1; string version = 2; }
message Span {
  bytes trace_id = 1; bytes span_id = 2; string trace_state = 3; bytes parent_span_id = 4; string name = 5;
  int32 kind = 6; fixed64 start_time_unix_nano = 7; fixed64 end_time_unix_nano = 8;
  repeated KeyValue attributes = 9; Status status = 15; fixed32 flags = 16;
}
message Status { string message = 2; int32 code = 3; }
message KeyValue { string key = 1; Value value = 2; }
message Value {
  oneof value {
    string string_value = 1; bool bool_value = 2; int64 int_value = 3; double double_value = 4;
    Values array_value = 5; Pairs kvlist_value = 6;
  }
}
message Values { repeated Value values = 1; }
message Pairs { repeated KeyValue values = 1; }
`

const message = protobuf.parse(schema).root.lookupType('Traces')

/** Reads a request in protobuf into the form that it has in JSON. Throws where it is none. */
export const decodeTraces = (bytes: Uint8Array): OtlpTraces => {
  const { resourceSpans } = message.toObject(message.decode(bytes), { longs: String, bytes: Array }) as WithBytes
  return {
    resourceSpans: (resourceSpans ?? []).map((group) => ({
      ...group,
      scopeSpans: (group.scopeSpans ?? []).map(({ spans = [], ...scope }) => ({ ...scope, spans: spans.map(named) })),
    })),
  }
}

type ResourceSpans = NonNullable<OtlpTraces['resourceSpans']>[number]
type ScopeSpans = NonNullable<ResourceSpans['scopeSpans']>[number]
type OtlpSpan = NonNullable<ScopeSpans['spans']>[number]
type SpanWithBytes = Omit<OtlpSpan, 'traceId' | 'spanId' | 'parentSpanId'> & {
  readonly traceId: number[]
  readonly spanId: number[]
  readonly parentSpanId?: number[]
}
type WithBytes = {
  readonly resourceSpans?: readonly (Omit<ResourceSpans, 'scopeSpans'> & {
    readonly scopeSpans?: readonly (Omit<ScopeSpans, 'spans'> & { readonly spans?: readonly SpanWithBytes[] })[]
  })[]
}

const named = (span: SpanWithBytes): OtlpSpan => ({
  ...span,
  traceId: hex(span.traceId),
  spanId: hex(span.spanId),
  parentSpanId: hex(span.parentSpanId ?? []),
})

const hex = (bytes: readonly number[]): string => Buffer.from(bytes).toString('hex')
