/** What stands in a line for a secret. */
export const redacted = '[redacted]'

/**
 * Makes the last defence of secrets: takes their texts out of all strings of a JSON line, wherever they come from. A line
 * that has none, which is every line as far as we know, costs a search for each secret.
 */
export const redactLine = (secrets: readonly string[]): ((line: string) => string) => {
  const byLength = secrets.toSorted((a, b) => b.length - a.length)
  const escaped = byLength.map((secret) => JSON.stringify(secret).slice(1, -1))
  const clean = (text: string): string => byLength.reduce((rest, secret) => rest.replaceAll(secret, redacted), text)
  return (line) => {
    for (const secret of escaped)
      if (line.includes(secret)) return `${JSON.stringify(cleaned(JSON.parse(line), clean))}\n`
    return line
  }
}

/** A value of JSON with all its strings cleaned, the names of members too. */
const cleaned = (value: unknown, clean: (text: string) => string): unknown => {
  if (typeof value === 'string') return clean(value)
  if (Array.isArray(value)) return value.map((one) => cleaned(one, clean))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [clean(name), cleaned(member, clean)]))
}
