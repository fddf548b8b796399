import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A way to a server through this process: what clients send can be looked at, and the way can be taken away. */
export type Link = AsyncDisposable & {
  readonly url: string
  /** Resets every connection and refuses new ones, as a server does that has ended. */
  readonly refuse: () => Promise<void>
  readonly accept: () => Promise<void>
  /** Lets nothing through any more, without a word to either side, as a network does that has lost its way. */
  readonly freeze: () => void
  /** What was sent meanwhile arrives. */
  readonly thaw: () => void
}

/** Opens a way to the server of a URL. `onSent` is given what each client sends, in the pieces in which it comes. */
export const openLink = async (url: string, onSent: (bytes: Buffer) => void = () => {}): Promise<Link> => {
  const target = new URL(url)
  const sockets = new Set<Socket>()
  let frozen = false
  const forward = (from: Socket, to: Socket, onBytes: (bytes: Buffer) => void): void => {
    sockets.add(from)
    from.on('data', (bytes: Buffer) => {
      onBytes(bytes)
      to.write(bytes)
    })
    if (frozen) from.pause()
    from.on('error', () => {})
    from.on('close', () => {
      sockets.delete(from)
      to.destroy()
    })
  }
  const server = createServer((near) => {
    const far = connect(Number(target.port), target.hostname)
    forward(near, far, onSent)
    forward(far, near, () => {})
  })
  const listen = async (port: number): Promise<void> => void (await once(server.listen(port, '127.0.0.1'), 'listening'))
  await listen(0)
  const { port } = server.address() as AddressInfo
  const refuse = async (): Promise<void> => {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    for (const socket of sockets) socket.resetAndDestroy()
    await closed
  }
  const freeze = (on: boolean): void => {
    frozen = on
    for (const socket of sockets) socket[on ? 'pause' : 'resume']()
  }
  const linked = new URL(url)
  linked.hostname = '127.0.0.1'
  linked.port = String(port)
  return {
    url: linked.href,
    refuse,
    accept: () => listen(port),
    freeze: () => freeze(true),
    thaw: () => freeze(false),
    [Symbol.asyncDispose]: refuse,
  }
}
