import type { Command } from 'commander'
import { parseConfig, workerNumber } from '../service/config.ts'
import { identify } from '../service/identity.ts'
import { runService } from '../service/run.ts'
import { processClock } from '../kit/timers.ts'
import { readBuild } from './build.ts'
import type { CommandHost } from './host.ts'
import { openLog } from './log.ts'

type ServeFlags = { port?: string; adminPort?: string; workers?: string; instance?: string }

/** `plimsoll serve`: the service, configured by the environment; the flags stand above it. */
export const addServeCommand = (program: Command, host: CommandHost): void => {
  program
    .command('serve')
    .description('run the service (configured by environment variables, see README)')
    .option('--port <port>', 'port of the service (PORT, default 8080)')
    .option('--admin-port <port>', 'port of the probes and metrics (ADMIN_PORT, default 9464)')
    .option('--workers <n|auto>', 'processes behind the port (WORKERS, default 1)')
    .option('--instance <name>', 'name of this replica (INSTANCE, default the host name)')
    .action(async (flags: ServeFlags) => {
      const config = parseConfig(withFlags(host.env, flags), readBuild(host.env))
      const { name } = identify(config, workerNumber(host.env) ?? 1)
      await runService({
        config,
        env: host.env,
        ...openLog(config, name, host.exit),
        signal: host.signal,
        clock: processClock,
        random: Math.random,
      })
    })
}

const withFlags = (env: CommandHost['env'], flags: ServeFlags): CommandHost['env'] => ({
  ...env,
  ...given('PORT', flags.port),
  ...given('ADMIN_PORT', flags.adminPort),
  ...given('WORKERS', flags.workers),
  ...given('INSTANCE', flags.instance),
})

const given = (name: string, value: string | undefined): Record<string, string> =>
  value === undefined ? {} : { [name]: value }
