import pino from 'pino'
import { processClock } from '../../src/kit/timers.ts'
import { ServiceCache } from '../../src/service/service-cache.ts'
import type { Config } from '../../src/service/config.ts'

/** The cache of an application that is made without a service around it. */
export const testCache = (config: Config): ServiceCache =>
  new ServiceCache({
    config,
    clock: processClock,
    random: Math.random,
    log: pino({ level: 'silent' }),
    valkey: undefined,
  })
