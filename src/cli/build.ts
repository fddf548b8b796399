import { readFileSync } from 'node:fs'
import type { Build } from '../service/config.ts'

/** Name and version from package.json. */
export const readRelease = (): Pick<Build, 'name' | 'version'> => {
  const { name, version } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as Build
  return { name, version }
}

/** What this build of Plimsoll is: name and version from package.json, revision from REVISION or the git checkout. */
export const readBuild = (env: Readonly<Record<string, string | undefined>>): Build => ({
  ...readRelease(),
  revision: env['REVISION'] || checkedOutRevision(),
})

// Both src/cli and dist/cli stand two folders below the root.
const root = new URL('../../', import.meta.url)

const checkedOutRevision = (): string => {
  const head = readOptional('.git/HEAD')
  const ref = /^ref: (.+)/.exec(head)?.[1]
  return (ref === undefined ? head : readOptional(`.git/${ref}`)).slice(0, 12) || 'unknown'
}

const readOptional = (path: string): string => {
  try {
    return readFileSync(new URL(path, root), 'utf8').trim()
  } catch {
    return ''
  }
}
