import type { Config } from './config.ts'

/** Shorter ones would be found in ordinary words. */
const shortest = 6

/**
 * Every secret of the configuration, as a text that must never come out: passwords of connection strings, user
 * information and parameters of other URLs, tokens, API keys, and the header values for a collector of traces, with each
 * of their words (`Bearer` stands before many). Those of less than 6 characters are left out, and those that the name of
 * the instance contains, which each answer and each log line tells.
 */
export const secretsOf = (config: Config): readonly string[] => {
  const { database, cache, upstreams, uploads, rateLimit, admin, telemetry } = config
  const tracing = telemetry?.tracing
  const webUrls = [
    ...Object.values(upstreams.urls ?? {}),
    uploads.s3.endpoint,
    tracing?.endpoint,
    tracing?.tracesEndpoint,
  ]
  const texts = [
    ...[database?.url, cache.url].flatMap(passwordsOf),
    ...webUrls.flatMap(secretsOfWebUrl),
    ...(rateLimit?.keys.keys() ?? []),
    admin.token,
    ...Object.values(tracing?.headers ?? {}).flatMap((value) => [value, ...value.split(/\s+/)]),
  ]
  return [...new Set(texts)]
    .filter((text) => text !== undefined)
    .filter((text) => text.length >= shortest && !config.instance.includes(text))
}

/** As it stands in a connection string, and decoded; PostgreSQL's takes one among its parameters, too. */
const passwordsOf = (text: string | undefined): string[] => {
  const url = parsed(text)
  if (url === null) return []
  const { password, searchParams } = url
  return [password, decoded(password), ...searchParams.getAll('password')]
}

/** A token may stand where a user name would, and in any parameter. */
const secretsOfWebUrl = (text: string | undefined): string[] => {
  const url = parsed(text)
  if (url === null) return []
  const { username, password, searchParams } = url
  return [username, password, decoded(username), decoded(password), ...searchParams.values()]
}

const parsed = (text: string | undefined): URL | null => (text === undefined ? null : URL.parse(text))

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
