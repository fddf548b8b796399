import { availableParallelism, hostname } from 'node:os'
import * as z from 'zod'
import { InputError } from '../kit/errors.ts'
import { mistakesOf } from '../kit/input.ts'

const whole = (preset: number, min: number, max: number): z.ZodType<number> => {
  const accepted = `a whole number from ${min} to ${max}`
  return z
    .string(accepted)
    .regex(/^\d{1,15}$/, accepted)
    .transform(Number)
    .refine((value) => value >= min && value <= max, accepted)
    .default(preset)
}

const wholeOrAuto = (preset: number | 'auto', max: number): z.ZodType<number> => {
  const accepted = `a whole number from 1 to ${max}, or auto (one for each core)`
  const cores = Math.min(availableParallelism(), max)
  return z
    .string(accepted)
    .regex(/^(auto|\d{1,4})$/, accepted)
    .transform((text) => (text === 'auto' ? cores : Number(text)))
    .refine((value) => value >= 1 && value <= max, accepted)
    .default(preset === 'auto' ? cores : preset)
}

const oneOf = <const Words extends readonly [string, ...string[]]>(preset: Words[number], words: Words) =>
  z.enum(words, `one of ${words.join(', ')}`).default(preset as never)

const word = (preset: string, shape: RegExp, accepted: string) =>
  z.string(accepted).regex(shape, accepted).default(preset)

const postgresUrl = 'a URL such as postgres://user:password@host:5432/database'

const secondMs = 1_000
const minuteMs = 60 * secondMs

/** Every environment variable that the service reads, with what it accepts and its default. */
const knobs = z.object({
  HOST: word('0.0.0.0', /^[\w.:-]+$/, 'a host name or an address'),
  PORT: whole(8080, 0, 65_535),
  ADMIN_HOST: word('0.0.0.0', /^[\w.:-]+$/, 'a host name or an address'),
  ADMIN_PORT: whole(9464, 0, 65_535),
  WORKERS: wholeOrAuto(1, 128),
  INSTANCE: word(hostname(), /^[\w.:-]{1,128}$/, 'up to 128 letters, digits and . : - _'),
  REVISION: z.string().optional(),

  KEEP_ALIVE_TIMEOUT_MS: whole(65 * secondMs, 0, 10 * minuteMs),
  REQUEST_TIMEOUT_MS: whole(30 * secondMs, 1, 10 * minuteMs),
  MAX_BODY_BYTES: whole(1_048_576, 1, 1_073_741_824),
  MAX_WORK_MS: whole(minuteMs, 1, 60 * minuteMs),
  MAX_MEMORY_MB: whole(256, 1, 65_536),
  REPLIES: oneOf('direct', ['direct', 'koa']),

  THREADS: wholeOrAuto('auto', 128),
  THREAD_QUEUE: whole(64, 0, 100_000),

  DATABASE_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\/.+/, postgresUrl)
    .optional(),
  DATABASE_PIPELINES: whole(1, 1, 16),
  DATABASE_POOL: whole(8, 1, 500),
  DATABASE_MAX_WAITING: whole(256, 0, 100_000),
  DATABASE_ACQUIRE_TIMEOUT_MS: whole(2 * secondMs, 1, 10 * minuteMs),
  DATABASE_STATEMENT_TIMEOUT_MS: whole(5 * secondMs, 1, 60 * minuteMs),

  DRAIN_DELAY_MS: whole(5 * secondMs, 0, 10 * minuteMs),
  DRAIN_TIMEOUT_MS: whole(20 * secondMs, 0, 60 * minuteMs),

  LOG_LEVEL: oneOf('info', ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']),
})

export type Build = { readonly name: string; readonly version: string; readonly revision: string }

export type Config = ReturnType<typeof shapeConfig>

/**
 * Reads the service's whole configuration. Nothing else below `cli/` reads the environment.
 * An empty variable counts as absent. Throws `InputError` with all mistakes together.
 */
export const parseConfig = (env: Readonly<Record<string, string | undefined>>, build: Build): Config => {
  const given = Object.fromEntries(Object.keys(knobs.shape).map((name) => [name, env[name] || undefined]))
  // It runs once: zod need not compile a function for it.
  const result = knobs.safeParse(given, { jitless: true })
  if (!result.success) throw new InputError(mistakesOf(knobs, given, result.error).map(hideSecret))
  return shapeConfig(result.data, build)
}

// A connection string carries a password: a mistake in it is told without the value.
const hideSecret = <T extends { field: string; value: unknown }>(mistake: T): T =>
  mistake.field === 'DATABASE_URL' ? { ...mistake, value: '(hidden)' } : mistake

const shapeConfig = (knob: z.output<typeof knobs>, build: Build) =>
  Object.freeze({
    build: { ...build, revision: knob.REVISION ?? build.revision },
    instance: knob.INSTANCE,
    http: {
      host: knob.HOST,
      port: knob.PORT,
      keepAliveTimeoutMs: knob.KEEP_ALIVE_TIMEOUT_MS,
      requestTimeoutMs: knob.REQUEST_TIMEOUT_MS,
      maxBodyBytes: knob.MAX_BODY_BYTES,
      replies: knob.REPLIES,
    },
    admin: { host: knob.ADMIN_HOST, port: knob.ADMIN_PORT },
    workers: knob.WORKERS,
    work: { maxMs: knob.MAX_WORK_MS, maxMemoryMb: knob.MAX_MEMORY_MB },
    threads: { size: knob.THREADS, queueLength: knob.THREAD_QUEUE },
    database:
      knob.DATABASE_URL === undefined
        ? undefined
        : {
            url: knob.DATABASE_URL,
            pipelines: knob.DATABASE_PIPELINES,
            poolSize: knob.DATABASE_POOL,
            maxWaiting: knob.DATABASE_MAX_WAITING,
            acquireTimeoutMs: knob.DATABASE_ACQUIRE_TIMEOUT_MS,
            statementTimeoutMs: knob.DATABASE_STATEMENT_TIMEOUT_MS,
          },
    drain: { delayMs: knob.DRAIN_DELAY_MS, timeoutMs: knob.DRAIN_TIMEOUT_MS },
    logLevel: knob.LOG_LEVEL,
  })

/** Which worker this process is, where `workers.ts` has started it. */
export const workerNumber = (env: Readonly<Record<string, string | undefined>>): number | undefined =>
  env['PLIMSOLL_WORKER'] === undefined ? undefined : Number(env['PLIMSOLL_WORKER'])
