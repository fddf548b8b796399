/**
 * The collector of the telemetry rows, a process of its own: `node sink.ts` listens on a free port of 127.0.0.1, prints
 * the port, and takes whatever is sent by OTLP over HTTP in protobuf. It keeps numbers only, for each sender, who is
 * told from the others by the first part of the path: `POST /on/v1/traces`. `GET /` shows them as JSON.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { countSpans, type SpanCounts } from './span-count.ts'

/** What came from one sender. */
export type Received = {
  readonly scopes: SpanCounts
  /** Requests by what they were with: traces, metrics or logs. */
  readonly signals: Record<string, number>
  bytes: number
}

const senders: Record<string, Received> = {}

const receive = (path: string, body: Buffer): void => {
  const [, name = '', , signal = ''] = path.split('/')
  const sender = (senders[name] ??= { scopes: {}, signals: {}, bytes: 0 })
  sender.bytes += body.length
  sender.signals[signal] = (sender.signals[signal] ?? 0) + 1
  if (signal === 'traces') countSpans(body, sender.scopes)
}

const answer = (request: IncomingMessage, response: ServerResponse): void => {
  if (request.method === 'GET') return void response.end(JSON.stringify(senders))
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    receive(request.url!, Buffer.concat(chunks))
    // An empty answer means that all was taken.
    response.writeHead(200, { 'Content-Type': 'application/x-protobuf' }).end()
  })
}

const server = createServer(answer)
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`)
})
