import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import type { ByteRange } from './byte-range.ts'
import { latestId, madeAtMs, type Storage, type Upload } from './upload.ts'

export type DirectoryOptions = {
  readonly path: string
  /** Makes a UUID v7; the time in it is the time. */
  readonly newId: () => string
}

/** Whoever still writes has written within the longest idle timeout, an hour. */
const leftoverAgeMs = 6 * 3_600_000

/** The names in the directory, all ours: an id, and what of the upload it is. */
const ownName = /^([\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})\.(part|content|json|json\.part)$/

/**
 * Keeps uploads in a directory, which is made when first needed and may be shared by replicas:
 *
 * - `ID.part` is content that is still coming, `ID.content` all of it;
 * - `ID.json` is the entry; it appears by being renamed, whole or not at all.
 *
 * When a commit has resolved, the upload outlives a loss of power.
 */
export class Directory implements Storage {
  readonly #path: string
  readonly #newId: () => string
  #sweptAtMs = 0

  constructor({ path, newId }: DirectoryOptions) {
    this.#path = path
    this.#newId = newId
  }

  async stage(id: string, content: AsyncIterable<Uint8Array>): Promise<void> {
    await mkdir(this.#path, { recursive: true, mode: 0o700 })
    this.#sweepNowAndThen()
    await this.#writeSafely(this.#of(id, 'part'), content)
    await rename(this.#of(id, 'part'), this.#of(id, 'content'))
  }

  async commit(upload: Upload): Promise<void> {
    const { id } = upload
    await this.#writeSafely(this.#of(id, 'json.part'), JSON.stringify(upload))
    await rename(this.#of(id, 'json.part'), this.#of(id, 'json'))
    // A name is safe when its directory is.
    await using directory = await open(this.#path)
    await directory.sync()
  }

  async discard(id: string): Promise<void> {
    await Promise.all(['json', 'json.part', 'part', 'content'].map((part) => rm(this.#of(id, part), { force: true })))
  }

  async find(id: string): Promise<Upload | undefined> {
    const entry = await present(readFile(this.#of(id, 'json'), 'utf8'))
    return entry === undefined ? undefined : (JSON.parse(entry) as Upload)
  }

  async open(id: string, { start, end }: ByteRange): Promise<Readable | undefined> {
    const file = await present(open(this.#of(id, 'content')))
    return file?.createReadStream({ start, end })
  }

  async newest(before: string, limit: number): Promise<string[]> {
    const ids = (await this.#names()).filter(({ part, id }) => part === 'json' && id < before).map(({ id }) => id)
    return ids.sort().toReversed().slice(0, limit)
  }

  async remove(id: string): Promise<void> {
    // The entry first: without one, content is nothing.
    await rm(this.#of(id, 'json'), { force: true })
    await rm(this.#of(id, 'content'), { force: true })
  }

  close(): void {}

  /** Removes what crashes have left behind, of uploads that nobody can still be writing. */
  async sweep(): Promise<void> {
    const names = await this.#names()
    const entries = new Set(names.filter(({ part }) => part === 'json').map(({ id }) => id))
    for (const { id, part } of names) {
      const isWhole = part === 'json' || (part === 'content' && entries.has(id))
      if (!isWhole && (await this.#isOld(this.#of(id, part)))) await rm(this.#of(id, part), { force: true })
    }
  }

  #of(id: string, part: string): string {
    return join(this.#path, `${id}.${part}`)
  }

  async #names(): Promise<{ id: string; part: string }[]> {
    const names = (await present(readdir(this.#path))) ?? []
    return names.flatMap((name) => {
      const [, id, part] = ownName.exec(name) ?? []
      return id === undefined || id === latestId ? [] : [{ id, part: part! }]
    })
  }

  async #writeSafely(path: string, content: AsyncIterable<Uint8Array> | string): Promise<void> {
    await using file = await open(path, 'wx', 0o600)
    await file.writeFile(content)
    await file.datasync()
  }

  async #isOld(path: string): Promise<boolean> {
    const found = await present(stat(path))
    return found !== undefined && this.#nowMs() - found.mtimeMs > leftoverAgeMs
  }

  #nowMs(): number {
    return madeAtMs(this.#newId())
  }

  #sweepNowAndThen(): void {
    const nowMs = this.#nowMs()
    if (nowMs - this.#sweptAtMs < leftoverAgeMs) return
    this.#sweptAtMs = nowMs
    // What it could not remove is there the next time.
    this.sweep().catch(() => {})
  }
}

/** Undefined for a file that is not there. */
const present = <Found>(found: Promise<Found>): Promise<Found | undefined> =>
  found.catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
