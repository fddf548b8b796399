const longestName = 255

/** Control characters, and those that turn the direction of the text after them: `exe.gpj` could read as `jpg.exe`. */
const unwanted = /[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu

/**
 * Makes a client's file name harmless to show and to send back: the last part of a path in either manner, well-formed,
 * composed (NFC), at most 255 characters. Null where nothing is left. It is a label only; no storage ever sees it.
 */
export const safeFileName = (given: string | undefined): string | null => {
  const last = (given ?? '').toWellFormed().split(/[/\\]/).at(-1)!
  const clean = last.replace(unwanted, '').normalize('NFC').trim()
  const name = Array.from(clean).slice(0, longestName).join('')
  return name === '' || name === '.' || name === '..' ? null : name
}
