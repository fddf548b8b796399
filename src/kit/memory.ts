/**
 * Frees the memory of a chunk of a stream that nobody needs any more, and empties the chunk. The garbage collector would
 * free it when some 64 MiB of such chunks have piled up: that much is what a single long stream would cost. A chunk that
 * shares its memory with others is left alone.
 */
export const releaseMemory = ({ buffer, byteLength }: Uint8Array): void => {
  if (byteLength === buffer.byteLength && buffer instanceof ArrayBuffer) buffer.transfer(0)
}
