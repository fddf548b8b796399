import type { IncomingMessage } from 'node:http'
import { readParent, type RemoteParent, Trace } from '../../kit/trace.ts'
import type { Clock } from '../../kit/timers.ts'
import { rawHeader } from '../http/raw-header.ts'

/**
 * Which requests are traced, in the words of OTEL_TRACES_SAMPLER. `parentBased`: one that belongs to a trace is traced
 * where its caller traces it. `ratio`: of all others, the share that is.
 */
export type Sampling = { readonly parentBased: boolean; readonly ratio: number }

export type SamplerParts = {
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** Fills with random bytes; default: those of Node's crypto. */
  readonly randomBytes?: (into: Uint8Array<ArrayBuffer>) => unknown
}

/**
 * Decides before anything is recorded whether a request is traced, and makes the ids of those that are. A request that is
 * not costs a look at its headers and a random number.
 *
 * The last 7 bytes of a trace id that begins here are the number that decided, so that whoever judges the trace by its id
 * comes to the same: the consistent probability sampling of OpenTelemetry,
 * https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/
 */
export class Sampler {
  readonly #sampling: Sampling
  readonly #clock: Clock
  readonly #random: () => number
  readonly #ids: Ids

  constructor(sampling: Sampling, { clock, random, randomBytes = fillRandom }: SamplerParts) {
    this.#sampling = sampling
    this.#clock = clock
    this.#random = random
    this.#ids = new Ids(randomBytes)
  }

  /** The trace of a request that arrives; undefined where it is not to be recorded. */
  sample(req: IncomingMessage, startMs: number): Trace | undefined {
    const { parentBased, ratio } = this.#sampling
    const parent = parentOf(req)
    if (parent !== undefined && parentBased) return parent.sampled ? this.#trace(parent, startMs, true, 1) : undefined
    const drawn = this.#random()
    return drawn < ratio ? this.#trace(parent, startMs, true, drawn) : undefined
  }

  /** A trace for a request that was not sampled: to be told after all, or only to give its ids to whom it calls. */
  unsampled(req: IncomingMessage, startMs: number): Trace {
    const { ratio } = this.#sampling
    return this.#trace(parentOf(req), startMs, false, ratio + this.#random() * (1 - ratio))
  }

  #trace(parent: RemoteParent | undefined, startMs: number, sampled: boolean, drawn: number): Trace {
    return new Trace({
      clock: this.#clock,
      name: '',
      kind: 'server',
      startMs,
      sampled,
      parent,
      newTraceId: () => this.#ids.trace(drawn),
      newSpanId: this.#ids.span,
    })
  }
}

const parentOf = (req: IncomingMessage): RemoteParent | undefined => {
  const traceparent = rawHeader(req, 'traceparent')
  return traceparent === undefined ? undefined : readParent(traceparent, rawHeader(req, 'tracestate'))
}

const fillRandom = (into: Uint8Array<ArrayBuffer>): unknown => crypto.getRandomValues(into)

const poolBytes = 4_096
const spanIdBytes = 8
const traceIdBytes = 16
/** At the end of a trace id. */
const randomnessBytes = 7

/** Makes ids of random bytes that are drawn many at a time: each draw is a call into the system's generator. */
class Ids {
  readonly #fill: (into: Uint8Array<ArrayBuffer>) => unknown
  readonly #pool = Buffer.alloc(poolBytes)
  #used = poolBytes

  constructor(fill: (into: Uint8Array<ArrayBuffer>) => unknown) {
    this.#fill = fill
  }

  readonly span = (): string => {
    const start = this.#take(spanIdBytes)
    const id = this.#pool.toString('hex', start, start + spanIdBytes)
    return id === '0000000000000000' ? this.span() : id
  }

  /** `drawn` in [0, 1): the smaller, the more samplers want this trace. */
  trace(drawn: number): string {
    const start = this.#take(traceIdBytes)
    const end = start + traceIdBytes
    writeRandomness(this.#pool, end - randomnessBytes, drawn)
    return this.#pool.toString('hex', start, end)
  }

  /** Where so many random bytes begin that nobody has used. */
  #take(bytes: number): number {
    if (this.#used + bytes > poolBytes) {
      this.#fill(this.#pool)
      this.#used = 0
    }
    this.#used += bytes
    return this.#used - bytes
  }
}

/** 7 bytes, the greater the more it is wanted: sampled at a ratio are those of at least 1 - ratio. */
const writeRandomness = (into: Buffer, at: number, drawn: number): void => {
  const wanted = Math.max(0, 1 - drawn - 2 ** -53) * 2 ** 24
  const high = Math.floor(wanted)
  into.writeUIntBE(high, at, 3)
  into.writeUInt32BE(Math.floor((wanted - high) * 2 ** 32), at + 3)
}
