import { readFile, realpath, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Failure } from '../../kit/errors.ts'

/** The operating-system user that a child process runs as. */
export type Account = Readonly<{ uid: number; gid: number; name: string }>

/** Accounts that PostgreSQL may run as when Plimsoll itself runs as root, best first. */
const unprivilegedNames = ['postgres', 'nobody']

/**
 * The account PostgreSQL must run as: none of its own (undefined) unless this process is root, whom PostgreSQL refuses
 * to serve. Then the owner of the data that are there already, else `postgres`, else `nobody`.
 * Throws a `no_account` failure if the machine has neither.
 */
export const accountFor = async (dataDir: string): Promise<Account | undefined> => {
  if (process.getuid?.() !== 0) return undefined
  const owner = await stat(dataDir).catch(() => undefined)
  if (owner !== undefined && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid, name: `uid ${owner.uid}` }
  const account = unprivilegedAccount(await readFile('/etc/passwd', 'utf8').catch(() => ''))
  if (account !== undefined) return account
  throw new Failure('no_account', {
    detail:
      'PostgreSQL does not run as root, and this machine has no user "postgres" or "nobody": ' +
      'run this as another user, or set DATABASE_URL to use a server of your own',
  })
}

/** The first of `postgres` and `nobody` that a passwd(5) file lists. */
export const unprivilegedAccount = (passwd: string): Account | undefined => {
  const entries = passwd.split('\n').map((line) => line.split(':'))
  for (const name of unprivilegedNames) {
    const entry = entries.find(([login]) => login === name)
    if (entry !== undefined) return { name, uid: Number(entry[2]), gid: Number(entry[3]) }
  }
  return undefined
}

/**
 * Whether the account can get to a path: every folder above it, and the path itself if it exists, must let the
 * account in. Access lists (ACLs) are not looked at.
 */
export const canReach = async (path: string, account: Account): Promise<boolean> => {
  const existing = await realpath(path).catch(() => undefined)
  if (existing === undefined) return await canReach(dirname(path), account)
  const above = dirname(existing)
  if (above !== existing && !(await canReach(above, account))) return false
  return mayEnter(await stat(existing), account)
}

type Permissions = Readonly<{ mode: number; uid: number; gid: number }>

// Exactly one class of permission bits counts, see inode(7). Entering a folder and running a file take the execute bit.
const mayEnter = ({ mode, uid, gid }: Permissions, account: Account): boolean => {
  const shift = uid === account.uid ? 6 : gid === account.gid ? 3 : 0
  return ((mode >> shift) & 0o1) === 0o1
}
