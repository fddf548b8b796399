/** The service inside the test's own process, on a port of 127.0.0.1 that is free. */
import { setTimeout as sleep } from 'node:timers/promises'
import pino from 'pino'
import { parseConfig } from '../../src/service/config.ts'
import { type Service, type ServiceDeps, startService } from '../../src/service/server.ts'
import { processClock } from '../../src/kit/timers.ts'
import { localEnv } from './env.ts'

export type TestService = AsyncDisposable & {
  /** `http://127.0.0.1:PORT`, without a slash at the end. */
  readonly url: string
  readonly port: number
  readonly service: Service
}

export const testBuild = { name: 'plimsoll', version: '0.0.0', revision: 'test' }

/** One replica on a free port that stops without a delay. Without DATABASE_URL it runs without a database. */
const testEnv = { ...localEnv, INSTANCE: 'test', THREADS: '2' }

/**
 * Starts a service, and resolves when it is ready; drained by `await using` or `[Symbol.asyncDispose]()`.
 * `env` is added to {@link testEnv} and read by `parseConfig`; `parts` replace what the service is given, for example its
 * clock. Rejects when it is not ready after 10 s.
 */
export const startTestService = async (
  env: Readonly<Record<string, string>> = {},
  parts: Partial<ServiceDeps> = {},
): Promise<TestService> => {
  const service = await startService({
    config: parseConfig({ ...testEnv, ...env }, testBuild),
    worker: 1,
    log: pino({ level: 'silent' }),
    clock: processClock,
    random: Math.random,
    ...parts,
  })
  const { port } = service.address
  await ready(service)
  return { url: `http://127.0.0.1:${port}`, port, service, [Symbol.asyncDispose]: service.drain }
}

const longestStartMs = 10_000

const ready = async (service: Service): Promise<void> => {
  const limit = performance.now() + longestStartMs
  while (!service.health().ready) {
    if (performance.now() > limit) {
      await service.drain()
      throw new Error(`not ready: ${JSON.stringify(service.health().checks)}`)
    }
    await sleep(5)
  }
}
