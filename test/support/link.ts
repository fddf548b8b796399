import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A way to a server through this process: what clients send can be looked at, and the way can be taken away. */
export type Link = AsyncDisposable & {
  readonly url: string
  /** Lets nothing through any more, without a word to either side, as a network does that has lost its way. */
  readonly freeze: () => void
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
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const freeze = (on: boolean): void => {
    frozen = on
    for (const socket of sockets) socket[on ? 'pause' : 'resume']()
  }
  const linked = new URL(url)
  linked.hostname = '127.0.0.1'
  linked.port = String((server.address() as AddressInfo).port)
  const close = async (): Promise<void> => {
    const closed = once(server, 'close')
    server.close()
    for (const socket of sockets) socket.destroy()
    await closed
  }
  return { url: linked.href, freeze: () => freeze(true), thaw: () => freeze(false), [Symbol.asyncDispose]: close }
}
