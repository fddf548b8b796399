/** An HTTP/1.1 client of a few lines that hides nothing: what the server wrote is what a test sees. */
import { once } from 'node:events'
import { createServer, type RequestListener, type Server, type ServerOptions } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'

/** An answer as it stood on the wire. */
export type RawAnswer = {
  readonly statusLine: string
  readonly status: number
  /** In the order and spelling of the wire. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** The value of a header, whatever the case of its name; several are joined with `, `. */
  header(name: string): string | undefined
  /** Without the framing of chunks. */
  readonly body: Buffer
  /** Whether the body came to its end, by its length or its last chunk. */
  readonly whole: boolean
}

export type RawRequest = {
  /** Default GET. */
  readonly method?: string
  /** Added to `Host` and `Connection: close`. */
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as it is; `Content-Length` is set unless the headers say how the body is framed. */
  readonly body?: string | Buffer
}

const defaultLimitMs = 5_000

/** Sends one request on a connection of its own and reads until the server closes it. */
export const request = async (port: number, target: string, options: RawRequest = {}): Promise<RawAnswer> => {
  const [answer] = readAnswers(await exchange(port, requestBytes(target, options)), [options.method ?? 'GET'])
  if (answer === undefined) throw new Error(`no answer to ${options.method ?? 'GET'} ${target}`)
  return answer
}

/** The bytes of a request that closes its connection. */
export const requestBytes = (target: string, { method = 'GET', headers = {}, body = '' }: RawRequest = {}): Buffer => {
  const framed = Object.keys(headers).some((name) => /^(content-length|transfer-encoding)$/i.test(name))
  const length = framed || body.length === 0 ? {} : { 'Content-Length': String(Buffer.byteLength(body)) }
  const all = Object.entries({ Host: 'test', Connection: 'close', ...length, ...headers })
  const head = `${method} ${target} HTTP/1.1\r\n${all.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`
  return Buffer.concat([Buffer.from(head, 'latin1'), Buffer.from(body)])
}

/**
 * Writes bytes to a new connection and collects what comes back until the server ends it. Rejects when that takes
 * longer than `limitMs` (default 5 s): a hang is a failure. That the server resets the connection is not one here.
 */
export const exchange = async (port: number, bytes: Buffer | string, limitMs = defaultLimitMs): Promise<Buffer> => {
  const socket = await dial(port)
  const received = collect(socket, limitMs)
  socket.write(bytes)
  return received
}

/** Opens a connection whose errors are left to who reads it. */
export const dial = async (port: number): Promise<Socket> => {
  const socket = connect({ port, host: '127.0.0.1' })
  await once(socket, 'connect')
  socket.on('error', () => {})
  return socket
}

/** Everything that arrives until the connection closes. */
export const collect = (socket: Socket, limitMs = defaultLimitMs): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    const timer = setTimeout(() => {
      socket.destroy()
      reject(new Error(`still open after ${limitMs} ms; received: ${Buffer.concat(parts).toString('latin1')}`))
    }, limitMs)
    socket.on('data', (part: Buffer) => parts.push(part))
    socket.once('close', () => {
      clearTimeout(timer)
      resolve(Buffer.concat(parts))
    })
  })

/** Takes what a connection received apart; `methods` are those of the requests, which say where HEAD was asked. */
export const readAnswers = (bytes: Buffer, methods: readonly string[] = []): RawAnswer[] => {
  const answers: RawAnswer[] = []
  for (let rest = bytes; rest.length > 0;) {
    const [answer, end] = readAnswer(rest, methods[answers.length] === 'HEAD')
    answers.push(answer)
    rest = rest.subarray(end)
  }
  return answers
}

const readAnswer = (bytes: Buffer, toHead: boolean): [RawAnswer, end: number] => {
  const headEnd = bytes.indexOf('\r\n\r\n')
  if (headEnd === -1) throw new Error(`no header section in ${JSON.stringify(bytes.toString('latin1'))}`)
  const [statusLine = '', ...lines] = bytes.toString('latin1', 0, headEnd).split('\r\n')
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(statusLine)?.[1])
  const headers = lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)] as const)
  const header = (name: string): string | undefined => {
    const found = headers.filter(([other]) => other.toLowerCase() === name.toLowerCase())
    return found.length === 0 ? undefined : found.map(([, value]) => value).join(', ')
  }
  const bodiless = toHead || status === 204 || status === 304
  const after = bytes.subarray(headEnd + 4)
  const { body, taken, whole } = bodiless ? { body: nothing, taken: 0, whole: true } : readBody(after, header)
  return [{ statusLine, status, headers, header, body, whole }, headEnd + 4 + taken]
}

const nothing = Buffer.alloc(0)

type Body = { readonly body: Buffer; readonly taken: number; readonly whole: boolean }

const readBody = (bytes: Buffer, header: RawAnswer['header']): Body => {
  if (header('Transfer-Encoding') === 'chunked') return readChunks(bytes)
  const length = header('Content-Length')
  if (length === undefined) return { body: bytes, taken: bytes.length, whole: true }
  const body = bytes.subarray(0, Number(length))
  return { body, taken: body.length, whole: body.length === Number(length) }
}

const readChunks = (bytes: Buffer): Body => {
  const chunks: Buffer[] = []
  for (let at = 0; ;) {
    const sizeEnd = bytes.indexOf('\r\n', at)
    const size = sizeEnd === -1 ? Number.NaN : Number.parseInt(bytes.toString('latin1', at, sizeEnd), 16)
    const cut = Number.isNaN(size) || sizeEnd + 2 + size + 2 > bytes.length
    if (cut) return { body: Buffer.concat(chunks), taken: bytes.length, whole: false }
    if (size === 0) return { body: Buffer.concat(chunks), taken: sizeEnd + 4, whole: true }
    chunks.push(bytes.subarray(sizeEnd + 2, sizeEnd + 2 + size))
    at = sizeEnd + 2 + size + 2
  }
}

export type Listening = AsyncDisposable & { readonly port: number; readonly server: Server }

/** Lets an application, or any request listener, listen on a free port until it is disposed of. */
export const listen = async (listener: RequestListener, options: ServerOptions = {}): Promise<Listening> => {
  const server = createServer(options, listener)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const close = async (): Promise<void> => {
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }
  return { port, server, [Symbol.asyncDispose]: close }
}
