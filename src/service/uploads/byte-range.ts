/** Positions of the first and the last byte, counted from 0. */
export type ByteRange = { readonly start: number; readonly end: number }

const one = /^bytes=[\t ]*(?:(\d+)-(\d*)|-(\d+))[\t ]*$/i

/**
 * Reads a `Range` for content of `size` bytes (RFC 9110, 14.1.2 and 14.2). `whole`: it asks for nothing that is served
 * here (several ranges, another unit, no range at all), and then the field does not count.
 */
export const byteRange = (given: string | undefined, size: number): ByteRange | 'whole' | 'unsatisfiable' => {
  const [matched, first, last, suffix] = one.exec(given ?? '') ?? []
  if (matched === undefined) return 'whole'
  // More than there is at the end is all there is.
  if (suffix !== undefined) return within({ start: Math.max(0, size - Number(suffix)), end: size - 1 }, size)
  const start = Number(first)
  const end = last === '' ? Infinity : Number(last)
  // Backwards, it is no range.
  return end < start ? 'whole' : within({ start, end: Math.min(end, size - 1) }, size)
}

const within = (range: ByteRange, size: number): ByteRange | 'unsatisfiable' =>
  range.start < size ? range : 'unsatisfiable'
