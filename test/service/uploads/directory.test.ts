import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { v7 as uuidv7 } from 'uuid'
import { Directory } from '../../../src/service/uploads/directory.ts'
import { until } from '../../support/until.ts'
import { storageLaws } from './storage-laws.ts'

const makeFolder = async (t: TestContext): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'plimsoll-uploads-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

storageLaws('a directory', {
  open: async (t) => {
    const path = join(await makeFolder(t), 'made', 'when needed')
    return { storage: new Directory({ path, newId: () => uuidv7() }), names: () => readdir(path) }
  },
})

const hoursAgo = (hours: number): Date => new Date(Date.now() - hours * 3_600_000)

/** A file of an upload, last written some hours ago. */
const leave = async (folder: string, name: string, hours: number): Promise<void> => {
  await writeFile(join(folder, name), '{}')
  await utimes(join(folder, name), hoursAgo(hours), hoursAgo(hours))
}

test('leftovers of crashes are swept with the first upload: old ones, ours, and nothing else', async (t) => {
  const path = await makeFolder(t)
  const [whole, crashed, early] = [uuidv7(), uuidv7(), uuidv7()]
  const kept = [
    `${whole}.content`,
    `${whole}.json`,
    'notes.part',
    'notes.content',
    `${crashed}.txt`,
    `${crashed}.content.bak`,
  ]
  const swept = [`${crashed}.part`, `${crashed}.content`, `${crashed}.json.part`]
  for (const name of [...kept, ...swept]) await leave(path, name, 7)
  const young = [`${early}.part`, `${early}.content`]
  for (const name of young) await leave(path, name, 5)
  const storage = new Directory({ path, newId: () => uuidv7() })
  const id = uuidv7()
  await storage.stage(id, (async function* () {})())
  await until('the sweep', async () => (await readdir(path)).length === kept.length + young.length + 1)
  assert.deepEqual((await readdir(path)).sort(), [...kept, ...young, `${id}.content`].sort())
})

test('a storage that is no directory fails with its own error', async (t) => {
  const path = join(await makeFolder(t), 'file')
  await writeFile(path, '')
  const storage = new Directory({ path, newId: () => uuidv7() })
  await assert.rejects(storage.stage(uuidv7(), (async function* () {})()), { code: 'EEXIST' })
  await assert.rejects(storage.find(uuidv7()), { code: 'ENOTDIR' })
})
