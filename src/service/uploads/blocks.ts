/** One of two buffers, filled, until the next but one is asked for. */
export type Block = { readonly bytes: Buffer; readonly isLast: boolean }

/**
 * Content in blocks of one size, but for the last, which may be shorter or empty. There is always a last one. While one
 * block is in use, the next is filled: no more than two are held, however long the content.
 */
export async function* blocksOf(content: AsyncIterable<Uint8Array>, blockBytes: number): AsyncGenerator<Block> {
  let filling = Buffer.allocUnsafeSlow(blockBytes)
  let other: Buffer<ArrayBuffer> | undefined
  let filled = 0
  for await (const chunk of content) {
    for (let rest = chunk; rest.length > 0;) {
      // A full block waits for more, for the last one must be known when it is given.
      if (filled === blockBytes) {
        yield { bytes: filling, isLast: false }
        ;[filling, other] = [other ?? Buffer.allocUnsafeSlow(blockBytes), filling]
        filled = 0
      }
      const part = rest.subarray(0, blockBytes - filled)
      filling.set(part, filled)
      filled += part.length
      rest = rest.subarray(part.length)
    }
  }
  yield { bytes: filling.subarray(0, filled), isLast: true }
}
