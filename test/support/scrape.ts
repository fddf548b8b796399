/** What a scrape of an admin port shows, line by line. */
export type Scrape = {
  readonly text: string
  /** Values by what stands before them: `name{label="value"}`. */
  readonly lines: ReadonlyMap<string, number>
  /** The type of the metric that a line belongs to. */
  readonly typeOf: (line: string) => string | undefined
  /** The sum of the lines of this name whose labels include these. */
  readonly sum: (name: string, labels?: Readonly<Record<string, string | number>>) => number
}

/** Scrapes `/metrics` in the classic text format. */
export const scrape = async (adminUrl: string): Promise<Scrape> => {
  const answer = await fetch(`${adminUrl}/metrics`)
  if (answer.status !== 200) throw new Error(`/metrics answered ${answer.status}: ${await answer.text()}`)
  return readScrape(await answer.text())
}

/** Reads the classic text format, for what the service writes: without timestamps. */
export const readScrape = (text: string): Scrape => {
  const rows = text.split('\n').filter((row) => row !== '' && !row.startsWith('#'))
  const lines = new Map(
    rows.map((row): [string, number] => {
      const end = row.lastIndexOf(' ')
      return [row.slice(0, end), Number(row.slice(end + 1))]
    }),
  )
  const types = new Map(Array.from(text.matchAll(/^# TYPE (\S+) (\S+)$/gm), ([, name, type]) => [name!, type!]))
  const typeOf = (line: string): string | undefined => {
    const [name = ''] = line.split('{')
    return types.get(name) ?? types.get(name.replace(/_(bucket|sum|count)$/, ''))
  }
  const sum: Scrape['sum'] = (name, labels = {}) => {
    const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`)
    return [...lines]
      .filter(([line]) => line.split('{')[0] === name && wanted.every((label) => line.includes(label)))
      .reduce((all, [, value]) => all + value, 0)
  }
  return { text, lines, typeOf, sum }
}
