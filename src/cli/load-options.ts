import { validateHeaderName, validateHeaderValue } from 'node:http'
import type { Arrivals } from '../contract/run-result.ts'
import { parseDurationMs, parseRatePerSecond, parseWhole } from '../kit/units.ts'
import type { LoadOptions } from '../lab/load/options.ts'
import { parseSlo, sloGrammar } from '../lab/load/slo.ts'
import { oneOf, within, type FlagReader } from './flag-reader.ts'

/** The flags of `plimsoll load` as they were typed; those with a default are always there. */
export type LoadFlags = {
  readonly rate?: string
  readonly for: string
  readonly arrivals: string
  readonly seed?: string
  readonly warmup: string
  readonly timeout: string
  readonly maxInFlight: string
  readonly connections: string
  readonly method?: string
  readonly header?: readonly string[]
  readonly body?: string
  readonly slo?: readonly string[]
  readonly metricsPort?: string
  readonly metricsLinger?: string
}

/** Where a run shows its metrics while it goes on. */
export type MetricsOptions = {
  /** Of 127.0.0.1; 0 is one that is free. */
  readonly port: number
  /** For how long the last figures are shown when the run is over, so that a scraper sees them. */
  readonly lingerMs: number
}

export const arrivalKinds = ['constant', 'poisson'] as const satisfies readonly Arrivals[]

const hourMs = 3_600_000
const dayMs = 24 * hourMs
const highestRate = 1_000_000
const mostInFlight = 60_000

/** Turns flags into options and notes every mistake in `flags`; with one, what is returned must not be used. */
export const readLoadOptions = (
  flags: FlagReader,
  urls: readonly string[],
  given: LoadFlags,
  chooseSeed: () => number,
): LoadOptions => {
  const durationMs = (field: string, text: string, minMs: number, maxMs: number, range: string): number =>
    flags.read(field, text, within(minMs, maxMs, parseDurationMs), `a duration ${range}, such as 250ms, 10s or 5m`)
  const count = (field: string, text: string, min: number, max: number): number =>
    flags.read(field, text, within(min, max, parseWhole), `a whole number from ${min} to ${max}`)
  return {
    targets: readTargets(flags, urls),
    method: readMethod(flags, given),
    headers: (given.header ?? []).map((text) => flags.read('--header', text, parseHeader, headerGrammar)),
    body: given.body === undefined ? undefined : Buffer.from(given.body),
    ratePerSecond: flags.read('--rate', given.rate, within(0.001, highestRate, parseRatePerSecond), rateGrammar),
    durationMs: durationMs('--for', given.for, 100, dayMs, 'from 100ms to 24h'),
    warmupMs: durationMs('--warmup', given.warmup, 0, hourMs, 'from 0s to 1h'),
    arrivals: flags.read('--arrivals', given.arrivals, oneOf(arrivalKinds), `one of ${arrivalKinds.join(', ')}`),
    seed: given.seed === undefined ? chooseSeed() : count('--seed', given.seed, 0, Number.MAX_SAFE_INTEGER),
    timeoutMs: durationMs('--timeout', given.timeout, 1, hourMs, 'from 1ms to 1h'),
    maxInFlight: count('--max-in-flight', given.maxInFlight, 1, mostInFlight),
    connections: count('--connections', given.connections, 0, mostInFlight),
    slos: (given.slo ?? []).map((text) => flags.read('--slo', text, parseSlo, sloGrammar)),
  }
}

/** Undefined where no port is given: nothing is shown. Notes mistakes as `readLoadOptions` does. */
export const readMetricsOptions = (flags: FlagReader, given: LoadFlags): MetricsOptions | undefined => {
  const { metricsPort, metricsLinger } = given
  if (metricsPort === undefined && metricsLinger === undefined) return undefined
  const lingerMs = within(0, hourMs, parseDurationMs)
  return {
    port: flags.read('--metrics-port', metricsPort, within(0, highestPort, parseWhole), portGrammar),
    lingerMs: flags.read('--metrics-linger', metricsLinger ?? '0s', lingerMs, 'a duration from 0s to 1h, such as 15s'),
  }
}

const highestPort = 65_535
const portGrammar = `a port from 0 (one that is free) to ${highestPort}`

const rateGrammar = `requests per second from 0.001 to ${highestRate}, such as 500 or 500/s`
const headerGrammar = "'name: value', except for headers that belong to the connection"

const readTargets = (flags: FlagReader, urls: readonly string[]): string[] =>
  (urls.length === 0 ? [undefined] : urls).map((url) =>
    flags.read('URL', url, parseTarget, 'an http:// URL without user and password'),
  )

const parseTarget = (text: string): string | undefined => {
  const url = URL.parse(text)
  return url?.protocol === 'http:' && url.username === '' && url.password === '' ? url.href : undefined
}

/** As curl does it: a body makes the method POST unless one is named. */
const readMethod = (flags: FlagReader, { method, body }: LoadFlags): string =>
  flags.read('--method', method ?? (body === undefined ? 'GET' : 'POST'), parseMethod, `one of ${methods.join(', ')}`)

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const

const parseMethod = (text: string): string | undefined => oneOf(methods)(text.toUpperCase())

/** Headers that say how a connection is used, which the generator decides. */
const connectionHeaders = new Set([
  'connection',
  'content-length',
  'expect',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

const parseHeader = (text: string): readonly [string, string] | undefined => {
  const colon = text.indexOf(':')
  const name = text.slice(0, Math.max(0, colon)).trim()
  const value = text.slice(colon + 1).trim()
  return isHeader(name, value) && !connectionHeaders.has(name.toLowerCase()) ? [name, value] : undefined
}

const isHeader = (name: string, value: string): boolean => {
  try {
    validateHeaderName(name)
    validateHeaderValue(name, value)
    return true
  } catch {
    return false
  }
}
