import type { Command } from 'commander'
import { InputError } from '../kit/errors.ts'
import { parseConfig } from '../service/config.ts'
import { migrate } from '../service/db/migrate.ts'
import { readBuild } from './build.ts'
import type { CommandHost } from './host.ts'

/** `plimsoll migrate`: brings the schema of DATABASE_URL up to date. */
export const addMigrateCommand = (program: Command, host: CommandHost): void => {
  program
    .command('migrate')
    .description('bring the database schema up to date (DATABASE_URL); safe to run several times at once')
    .action(async () => {
      const { database } = parseConfig(host.env, readBuild(host.env))
      if (database === undefined) {
        throw new InputError([{ field: 'DATABASE_URL', value: undefined, accepted: 'the database to migrate' }])
      }
      const { applied, current } = await migrate(database.url)
      for (const name of applied) host.stderr.write(`applied ${name}\n`)
      host.stdout.write(applied.length === 0 ? `up to date at ${current}\n` : `migrated to ${current}\n`)
    })
}
