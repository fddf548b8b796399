import type { ServerResponse } from 'node:http'
import { pipeline, type Readable, Writable } from 'node:stream'
import { releaseMemory } from '../../kit/memory.ts'
import type { Clock } from '../../kit/timers.ts'
import type { ServiceContext } from './lean-koa.ts'

export type StreamOutOptions = {
  /** A client that takes nothing for so long, or at most for twice as long, is cut off. */
  readonly idleTimeoutMs: number
  readonly clock: Clock
}

/**
 * Sends a stream, of which nobody else has the chunks, as fast as the client takes it; status and headers are those that
 * are set. Resolves when the last byte is out, the client has gone, or its deadline has answered it; with the error where
 * it is the stream that has failed. So the handler waits for it, and keeps its leave to work as long, unlike for a stream
 * that is left to Koa.
 */
export const streamOut = (ctx: ServiceContext, content: Readable, options: StreamOutOptions): Promise<unknown> => {
  const { res } = ctx
  ctx.respond = false
  ctx.app.setStandardHeaders(ctx)
  const out = outlet(res)
  const onClose = (): void => void out.destroy()
  res.once('close', onClose)
  const stopWatching = cutWhenIdle(ctx, options)
  return new Promise((resolve) => {
    pipeline(content, out, (error) => {
      stopWatching()
      res.off('close', onClose)
      resolve(error?.code === 'ERR_STREAM_PREMATURE_CLOSE' ? undefined : (error ?? undefined))
    })
    // Its `close` was before anyone here could hear of it.
    if (res.destroyed) out.destroy()
  })
}

/** Hands chunks to the connection one by one, and frees each when the system has taken it over. */
const outlet = (res: ServerResponse): Writable =>
  new Writable({
    highWaterMark: 1,
    write(chunk: Buffer, _encoding, done) {
      const sent = (error?: Error | null): void => {
        releaseMemory(chunk)
        // The client is the one that fails here, and never the stream.
        if (error) this.destroy()
        else done()
      }
      if (res.writableEnded) this.destroy()
      else res.write(chunk, sent)
    },
    final(done) {
      res.end(done)
    },
    destroy(error, done) {
      if (!res.writableEnded) res.destroy()
      done(error)
    },
  })

const cutWhenIdle = ({ req, res }: ServiceContext, { idleTimeoutMs, clock }: StreamOutOptions): (() => void) => {
  let sent = -1
  let timer: unknown
  const look = (): void => {
    if (sent === req.socket.bytesWritten) return void res.destroy()
    sent = req.socket.bytesWritten
    timer = clock.setTimeout(look, idleTimeoutMs)
  }
  look()
  return () => clock.clearTimeout(timer as never)
}
