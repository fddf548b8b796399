/** A collector of traces that speaks OTLP over gRPC, on a free port of 127.0.0.1. */
import grpc from '@grpc/grpc-js'
import { type Collector, Inbox } from './collector.ts'
import { decodeTraces } from './otlp.ts'

const path = '/opentelemetry.proto.collector.trace.v1.TraceService/Export'

const asBytes = (bytes: Buffer): Buffer => bytes

const exportMethod: grpc.MethodDefinition<Buffer, Buffer> = {
  path,
  requestStream: false,
  responseStream: false,
  requestSerialize: asBytes,
  requestDeserialize: asBytes,
  responseSerialize: asBytes,
  responseDeserialize: asBytes,
}

/** Starts one. It behaves as {@link Collector} says, but for `cut`, which it takes for an error. */
export const startGrpcCollector = async (): Promise<Collector> => {
  const inbox = new Inbox()
  const server = new grpc.Server()
  server.addService({ export: exportMethod }, { export: answer(inbox) })
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  )
  const { spans, requests, behave, until } = inbox
  const close = (): Promise<void> => {
    server.forceShutdown()
    return Promise.resolve()
  }
  return { url: `http://127.0.0.1:${port}`, port, spans, requests, behave, until, [Symbol.asyncDispose]: close }
}

const answer =
  (inbox: Inbox): grpc.handleUnaryCall<Buffer, Buffer> =>
  async (call, reply) => {
    const headers = Object.fromEntries(Object.entries(call.metadata.getMap()).map(([name, v]) => [name, String(v)]))
    const mode = await inbox.receive({ path, headers, bytes: call.request.length }, decodeTraces(call.request))
    if (mode === 'hang') return
    if (mode === 'error' || mode === 'cut') reply({ code: grpc.status.INTERNAL, details: 'as told' })
    else reply(null, Buffer.alloc(0))
  }
