import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import pg from 'pg'

export type Migration = {
  readonly version: number
  readonly name: string
  readonly sql: string
  readonly checksum: string
}

export type MigrationReport = { readonly applied: readonly string[]; readonly current: string }

// Any number that other users of the same server will not take for their own lock.
const lockId = 0x706c696d

/**
 * Brings the database's schema up to date. Each numbered file runs once, in one transaction with its entry in
 * `schema_migrations`. Replicas that start together wait on an advisory lock, and all but the first find nothing to do.
 * Throws where a file that was applied has since been changed.
 */
export const migrate = async (url: string, migrations?: readonly Migration[]): Promise<MigrationReport> => {
  const wanted = migrations ?? (await readMigrations())
  const client = new pg.Client({ connectionString: url, application_name: 'plimsoll migrate' })
  // A connection that is lost fails the query in flight; without a listener it would end the process as well.
  client.on('error', () => {})
  await client.connect()
  try {
    await client.query('select pg_advisory_lock($1)', [lockId])
    await client.query(`create table if not exists schema_migrations (
      version integer primary key, name text not null, checksum text not null, applied_at timestamptz not null default now())`)
    const pending = await pendingOf(client, wanted)
    for (const migration of pending) await apply(client, migration)
    return { applied: pending.map(({ name }) => name), current: wanted.at(-1)?.name ?? 'none' }
  } finally {
    // The lock belongs to the session and goes with it.
    await client.end()
  }
}

/** Reads the numbered SQL files beside this one, in their order. */
export const readMigrations = async (): Promise<Migration[]> => {
  const folder = new URL('./migrations/', import.meta.url)
  const names = (await readdir(folder)).filter((name) => /^\d{4}-.+\.sql$/.test(name)).sort()
  return Promise.all(
    names.map(async (name) => {
      const sql = await readFile(new URL(name, folder), 'utf8')
      return { version: Number(name.slice(0, 4)), name, sql, checksum: createHash('sha256').update(sql).digest('hex') }
    }),
  )
}

const pendingOf = async (client: pg.Client, wanted: readonly Migration[]): Promise<Migration[]> => {
  const applied = await client.query<{ version: number; name: string; checksum: string }>(
    'select version, name, checksum from schema_migrations order by version',
  )
  for (const { version, name, checksum } of applied.rows) {
    const ours = wanted.find((migration) => migration.version === version)
    // A newer release may have migrated already while this one still runs: that is what a rolling update looks like.
    if (ours !== undefined && ours.checksum !== checksum) {
      throw new Error(`migration ${name} was applied with other contents: add a new one instead of changing it`)
    }
  }
  const done = new Set(applied.rows.map(({ version }) => version))
  return wanted.filter(({ version }) => !done.has(version))
}

const apply = async (client: pg.Client, { version, name, sql, checksum }: Migration): Promise<void> => {
  await client.query('begin')
  try {
    await client.query(sql)
    await client.query('insert into schema_migrations (version, name, checksum) values ($1, $2, $3)', [
      version,
      name,
      checksum,
    ])
    await client.query('commit')
  } catch (error) {
    // Where the connection is gone, so is the transaction.
    await client.query('rollback').catch(() => {})
    throw new Error(`migration ${name} failed: ${(error as Error).message}`, { cause: error })
  }
}
