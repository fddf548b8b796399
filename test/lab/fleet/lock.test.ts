import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { takeLock } from '../../../src/lab/fleet/lock.ts'
import { startOf } from '../../../src/lab/fleet/processes.ts'

const folder = await mkdtemp(join(tmpdir(), 'plimsoll-lock-'))
after(() => rm(folder, { recursive: true }))

test('a lock has one holder, who is named to the next', async () => {
  const file = join(folder, 'one')
  const lock = await takeLock(file)
  assert.ok(Symbol.asyncDispose in lock)
  assert.deepEqual(await takeLock(file), { heldBy: process.pid })
  await lock[Symbol.asyncDispose]()
  assert.ok(Symbol.asyncDispose in (await takeLock(file)))
})

test('of many who take it at once, one gets it', async () => {
  const file = join(folder, 'many')
  const locks = await Promise.all(Array.from({ length: 8 }, () => takeLock(file)))
  assert.equal(locks.filter((lock) => Symbol.asyncDispose in lock).length, 1)
  assert.deepEqual(
    (await readdir(folder)).filter((name) => name.startsWith('many')),
    ['many'],
  )
})

test('the lock of a process that has ended is taken over', async () => {
  const file = join(folder, 'ended')
  const child = spawn('sleep', ['60'])
  await once(child, 'spawn')
  await writeFile(file, `${child.pid} ${await startOf(child.pid!)}\n`)
  assert.deepEqual(await takeLock(file), { heldBy: child.pid })
  child.kill('SIGKILL')
  await once(child, 'exit')
  assert.ok(Symbol.asyncDispose in (await takeLock(file)))
})

test('the lock of a process whose id was given to another is taken over', async () => {
  const file = join(folder, 'reused')
  await writeFile(file, `${process.pid} long ago\n`)
  assert.ok(Symbol.asyncDispose in (await takeLock(file)))
})

for (const content of ['', 'nonsense', '123', '\0\0\0']) {
  test(`a lock file that holds ${JSON.stringify(content)} is nobody's`, async () => {
    const file = join(folder, 'broken')
    await writeFile(file, content)
    const lock = await takeLock(file)
    assert.ok(Symbol.asyncDispose in lock)
    await lock[Symbol.asyncDispose]()
  })
}
