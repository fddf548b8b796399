import assert from 'node:assert/strict'
import { chmod, chown, mkdir, mkdtemp, rm, stat, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { canReach, unprivilegedAccount, type Account } from '../../../src/lab/fleet/account.ts'

const passwd = [
  'root:x:0:0:root:/root:/bin/bash',
  'nobody:x:65534:65533:nobody:/nonexistent:/usr/sbin/nologin',
  'postgresql:x:900:900::/:/bin/sh',
]

test('postgres is preferred to nobody, in whatever order they are listed', () => {
  const lines = [...passwd, 'postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash', '']
  assert.deepEqual(unprivilegedAccount(lines.join('\n')), { name: 'postgres', uid: 101, gid: 104 })
})

test('nobody stands in where there is no postgres', () => {
  assert.deepEqual(unprivilegedAccount(passwd.join('\n')), { name: 'nobody', uid: 65_534, gid: 65_533 })
})

test('a machine without either has no account', () => {
  assert.equal(unprivilegedAccount('root:x:0:0::/root:/bin/sh\n'), undefined)
  assert.equal(unprivilegedAccount(''), undefined)
})

const folder = await mkdtemp(join(tmpdir(), 'plimsoll-account-'))
await chmod(folder, 0o755)
after(() => rm(folder, { recursive: true }))
const { uid, gid } = await stat(folder)
const owner: Account = { name: 'owner', uid, gid }
const sameGroup: Account = { name: 'member', uid: uid + 1, gid }
const stranger: Account = { name: 'stranger', uid: uid + 1, gid: gid + 1 }

const makeFolder = async (name: string, mode: number): Promise<string> => {
  const path = join(folder, name)
  await mkdir(path)
  await chmod(path, mode)
  return path
}

test('owner, group and others each go by their own permission bits alone', async () => {
  const modes: [number, boolean[]][] = [
    [0o755, [true, true, true]],
    [0o700, [true, false, false]],
    [0o710, [true, true, false]],
    [0o701, [true, false, true]],
    [0o077, [false, true, true]],
    [0o666, [false, false, false]],
  ]
  for (const [mode, expected] of modes) {
    const path = await makeFolder(mode.toString(8), mode)
    const reached = await Promise.all([owner, sameGroup, stranger].map((account) => canReach(path, account)))
    assert.deepEqual(reached, expected, mode.toString(8))
  }
})

test('a folder behind one that keeps the account out cannot be reached, nor can what is not there yet', async () => {
  const closed = await makeFolder('closed', 0o700)
  await mkdir(join(closed, 'open'), { mode: 0o777 })
  assert.equal(await canReach(join(closed, 'open'), stranger), false)
  assert.equal(await canReach(join(closed, 'not/there'), stranger), false)
  assert.equal(await canReach(join(closed, 'not/there'), owner), true)
  assert.equal(await canReach(join(folder, 'not/there'), stranger), true)
})

test('a link is as reachable as what it leads to', async () => {
  const closed = await makeFolder('closed-target', 0o700)
  await mkdir(join(closed, 'open'), { mode: 0o777 })
  await symlink(join(closed, 'open'), join(folder, 'link'))
  assert.equal(await canReach(join(folder, 'link'), stranger), false)
})

if (process.getuid?.() === 0) {
  test('what is said of an account is what the kernel does', async () => {
    const { spawnSync } = await import('node:child_process')
    const path = await makeFolder('asked', 0o750)
    await chown(path, 12_345, 23_456)
    for (const [uid, gid] of [
      [12_345, 1],
      [1, 23_456],
      [1, 1],
    ] as const) {
      const { status } = spawnSync('/bin/sh', ['-c', `cd "${path}"`], { uid, gid })
      assert.equal(await canReach(path, { name: '', uid, gid }), status === 0, `${uid} ${gid}`)
    }
  })
}
