import { randomUUID } from 'node:crypto'
import { link, readFile, rm, writeFile } from 'node:fs/promises'
import { startOf } from './processes.ts'

/** A lock that this process holds; disposing gives it back. */
export type Lock = AsyncDisposable

/** Who else holds a lock. */
export type Holder = Readonly<{ heldBy: number }>

/**
 * Takes the lock that a file stands for, or says which process holds it. The file names its holder by process id and
 * start time, so the lock of a process that was killed, or whose id was given to another since, is taken over.
 */
export const takeLock = async (file: string): Promise<Lock | Holder> => {
  const mine = `${process.pid} ${await startOf(process.pid)}\n`
  for (;;) {
    if (await created(file, mine)) return { [Symbol.asyncDispose]: () => rm(file, { force: true }) }
    const holder = await holderOf(file)
    if (holder !== undefined) return { heldBy: holder }
    await rm(file, { force: true })
  }
}

// Written aside and linked in place, so that nobody ever reads half a lock.
const created = async (file: string, content: string): Promise<boolean> => {
  const aside = `${file}.${randomUUID()}`
  await writeFile(aside, content, { flag: 'wx' })
  try {
    await link(aside, file)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  } finally {
    await rm(aside, { force: true })
  }
}

const holderOf = async (file: string): Promise<number | undefined> => {
  const [, pid, start] = /^(\d+) (.+)\n/.exec(await readFile(file, 'utf8').catch(() => '')) ?? []
  if (pid === undefined || start === undefined) return undefined
  return (await startOf(Number(pid))) === start ? Number(pid) : undefined
}
