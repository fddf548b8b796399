import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Metric, metricsFormats, writeMetrics } from '../../kit/metrics.ts'

/** A server of `GET /metrics` that is open until it is disposed of. */
export type MetricsServer = AsyncDisposable & { readonly url: string }

/**
 * Serves what `collect` gives, as Prometheus' text, on 127.0.0.1. Rejects when the port, of which 0 is a free one, is
 * taken. What writes it is loaded before: that takes some 30 ms, for which the driver of a run would stand still.
 */
export const serveMetrics = async (port: number, collect: () => readonly Metric[]): Promise<MetricsServer> => {
  const write = (): Promise<string> => writeMetrics(collect(), 'prometheus')
  await write()
  const server = createServer((req, res) => void answer(write, req, res))
  await listen(server, port)
  const { port: listening } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${listening}/metrics`, [Symbol.asyncDispose]: () => close(server) }
}

const listen = (server: Server, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })

const answer = async (write: () => Promise<string>, req: IncomingMessage, res: ServerResponse): Promise<void> => {
  const [path] = req.url!.split('?')
  if (path !== '/metrics') return void res.writeHead(404).end()
  if (req.method !== 'GET' && req.method !== 'HEAD') return void res.writeHead(405, { Allow: 'GET, HEAD' }).end()
  const text = await write()
  res.writeHead(200, { 'Content-Type': metricsFormats.prometheus, 'Cache-Control': 'no-store' }).end(text)
}

const close = (server: Server): Promise<void> => {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeAllConnections()
  return closed
}
