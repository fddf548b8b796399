const unitMs = { us: 0.001, ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const

const decimal = String.raw`(\d+(?:\.\d+)?|\.\d+)`
const duration = new RegExp(`^${decimal}(us|ms|s|m|h)$`)
const rate = new RegExp(`^${decimal}(?:/s)?$`)
const percentage = new RegExp(`^${decimal}%$`)

/** Milliseconds of `250us`, `250ms`, `1.5s`, `5m` or `1h`; undefined when `text` is not a duration. */
export const parseDurationMs = (text: string): number | undefined => {
  const [, amount, unit] = duration.exec(text) ?? []
  return unit === undefined ? undefined : Number(amount) * unitMs[unit as keyof typeof unitMs]
}

/** `ms` to the microsecond: what a clock measures beyond that is noise, and looks like precision. */
export const toMicrosecond = (ms: number): number => Math.round(ms * 1_000) / 1_000

/** Events per second of `500` or `500/s`; undefined when `text` is not a rate. */
export const parseRatePerSecond = (text: string): number | undefined => numberIn(rate, text)

/** The share, 0 to 1 or more, that `0.1%` stands for; undefined when `text` is not a percentage. */
export const parseShare = (text: string): number | undefined => {
  const percent = numberIn(percentage, text)
  return percent === undefined ? undefined : percent / 100
}

/** The integer from 0 to 2^53 - 1 that `text` spells in digits; undefined when it does not. */
export const parseWhole = (text: string): number | undefined => {
  const whole = /^\d{1,16}$/.test(text) ? Number(text) : undefined
  return Number.isSafeInteger(whole) ? whole : undefined
}

const numberIn = (shape: RegExp, text: string): number | undefined => {
  const digits = shape.exec(text)?.[1]
  return digits === undefined ? undefined : Number(digits)
}

const grouped = (value: number, decimals: number): string =>
  value.toLocaleString('en-US', { maximumFractionDigits: decimals })

const fixed = (value: number, decimals: number): string =>
  value.toLocaleString('en-US', { minimumFractionDigits: decimals, maximumFractionDigits: decimals })

/** `12,345`. */
export const formatCount = (count: number): string => grouped(count, 0)

/** `0.61 ms`, `12.3 ms`, `1,234 ms`: one unit, so that columns compare at a glance. */
export const formatMs = (ms: number): string => `${fixed(ms, ms < 10 ? 2 : ms < 100 ? 1 : 0)} ms`

/** A length of time as people write it: `250 ms`, `10 s`, `2.5 s`, `5 min`. */
export const formatDuration = (ms: number): string => {
  if (ms < 1_000) return `${grouped(ms, 0)} ms`
  return ms < 120_000 || ms % 60_000 !== 0 ? `${grouped(ms / 1_000, 1)} s` : `${grouped(ms / 60_000, 0)} min`
}

/** `199.8/s`. */
export const formatRate = (perSecond: number): string => `${grouped(perSecond, perSecond < 1_000 ? 1 : 0)}/s`

/** `12.5 %`, with as many decimals as keep a small share from reading as none. */
export const formatShare = (share: number): string =>
  `${(share * 100).toLocaleString('en-US', { maximumSignificantDigits: share < 0.1 ? 2 : 3 })} %`
