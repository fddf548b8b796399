/** Counting the spans of an OTLP request in protobuf without decoding them: a few steps for each, no objects. */

/** By the name of the scope, which is who made the spans. */
export type SpanCounts = Record<string, { spans: number; server: number }>

/** Numbers of the fields that are looked into, from opentelemetry-proto's trace/v1/trace.proto. */
const fields = { resourceSpans: 1, scopeSpans: 2, scope: 1, scopeName: 1, spans: 2, kind: 6 } as const
const serverKind = 2

/** How many bytes follow a tag of each type; -1: as many as the next number says. 3 and 4 are not used by proto3. */
const lengths: readonly number[] = [0, 8, -1, 0, 0, 4]

/** Where the reader is; one for all, because each step is done before the next begins. */
let at = 0

const readNumber = (bytes: Uint8Array): number => {
  let value = 0
  for (let shift = 1; ; shift *= 128) {
    const byte = bytes[at++]!
    value += (byte & 127) * shift
    if (byte < 128) return value
  }
}

/**
 * Calls `each` for the fields of a message from `start` to `end` with where their value begins and ends; of a field that
 * is a number, the number itself and NaN.
 */
const eachField = (
  bytes: Uint8Array,
  start: number,
  end: number,
  each: (field: number, from: number, to: number) => void,
): void => {
  at = start
  while (at < end) {
    const tag = readNumber(bytes)
    const type = tag & 7
    if (type === 0) {
      each(tag >>> 3, readNumber(bytes), NaN)
      continue
    }
    const length = type === 2 ? readNumber(bytes) : lengths[type]!
    const next = at + length
    each(tag >>> 3, at, next)
    at = next
  }
}

const isOfServer = (bytes: Uint8Array, start: number, end: number): boolean => {
  let kind = 0
  eachField(bytes, start, end, (field, value) => {
    if (field === fields.kind) kind = value
  })
  return kind === serverKind
}

const nameOf = (bytes: Uint8Array, start: number, end: number): string => {
  let name = ''
  eachField(bytes, start, end, (field, from, to) => {
    if (field === fields.scopeName) name = Buffer.from(bytes.buffer, bytes.byteOffset + from, to - from).toString()
  })
  return name
}

const countScope = (bytes: Uint8Array, start: number, end: number, counts: SpanCounts): void => {
  let name = ''
  let spans = 0
  let server = 0
  eachField(bytes, start, end, (field, from, to) => {
    if (field === fields.scope) name = nameOf(bytes, from, to)
    if (field !== fields.spans) return
    spans++
    if (isOfServer(bytes, from, to)) server++
  })
  const count = (counts[name] ??= { spans: 0, server: 0 })
  count.spans += spans
  count.server += server
}

/** Adds the spans of an `ExportTraceServiceRequest` to `counts`. */
export const countSpans = (request: Uint8Array, counts: SpanCounts): void =>
  eachField(request, 0, request.length, (field, from, to) => {
    if (field !== fields.resourceSpans) return
    eachField(request, from, to, (inner, start, end) => {
      if (inner === fields.scopeSpans) countScope(request, start, end, counts)
    })
  })
