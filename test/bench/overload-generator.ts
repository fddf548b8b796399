/**
 * The generator of `overload.ts`, in a process of its own so that it has a core of its own: an open loop of two stages,
 * `node overload-generator.ts JOB`, where the job is JSON; prints what came of each stage as JSON.
 */
import { Histogram } from '../../src/kit/histogram.ts'
import { systemClock } from '../../src/kit/clock.ts'
import { drive, type RunObserver, type Sample } from '../../src/lab/load/driver.ts'
import { httpTransport } from '../../src/lab/load/http.ts'
import { planArrivals } from '../../src/lab/load/schedule.ts'

export type Job = {
  readonly url: string
  readonly seed: number
  /** One after the other without a pause. Arrivals of the first `warmupMs` of a stage are not counted. */
  readonly stages: readonly { readonly ratePerSecond: number; readonly durationMs: number; readonly warmupMs: number }[]
}

/** Requests by their intended start, after the warm-up. Latency is from the intended start, in ms. */
export type StageResult = {
  readonly arrivals: number
  readonly served: number
  readonly servedP50: number
  readonly servedP99: number
  readonly refused: number
  readonly refusedP99: number
  /** Neither served nor refused: no answer in 10 s, or a connection that failed. */
  readonly unanswered: number
  /** Served within the stage's time after the warm-up, per second: what it is called goodput for. */
  readonly goodput: number
  /** The generator's own delay. */
  readonly sendLagP99: number
}

class StageRecorder implements RunObserver {
  readonly #served = new Histogram()
  readonly #refused = new Histogram()
  readonly #lag = new Histogram()
  readonly #fromMs: number
  readonly #toMs: number
  #inTime = 0
  #unanswered = 0

  constructor(fromMs: number, toMs: number) {
    this.#fromMs = fromMs
    this.#toMs = toMs
  }

  sent({ intendedMs, sentMs }: Sample): void {
    if (intendedMs >= this.#fromMs) this.#lag.record(sentMs - intendedMs)
  }

  ended({ intendedMs, endedMs, outcome }: Sample): void {
    if (outcome === 'ok' && endedMs >= this.#fromMs && endedMs < this.#toMs) this.#inTime++
    if (intendedMs < this.#fromMs) return
    if (outcome === 'ok') this.#served.record(endedMs - intendedMs)
    else if (outcome === 'httpError') this.#refused.record(endedMs - intendedMs)
    else this.#unanswered++
  }

  missed(): void {
    this.#unanswered++
  }

  ticked(): void {}
  arrivalsEnded(): void {}

  result(): StageResult {
    const served = this.#served
    return {
      arrivals: this.#lag.count,
      served: served.count,
      servedP50: served.percentileMs(50),
      servedP99: served.percentileMs(99),
      refused: this.#refused.count,
      refusedP99: this.#refused.percentileMs(99),
      unanswered: this.#unanswered,
      goodput: (this.#inTime * 1_000) / (this.#toMs - this.#fromMs),
      sendLagP99: this.#lag.percentileMs(99),
    }
  }
}

const timeoutMs = 10_000

const run = async ({ url, seed, stages }: Job): Promise<readonly StageResult[]> => {
  const target = { targets: [url], method: 'GET', headers: [], body: undefined, connections: 32, timeoutMs }
  const transport = httpTransport(target)
  const ends: Promise<StageResult>[] = []
  for (const { ratePerSecond, durationMs, warmupMs } of stages) {
    const { promise, resolve } = Promise.withResolvers<void>()
    const observer = new StageRecorder(warmupMs, durationMs)
    observer.arrivalsEnded = () => resolve()
    const end = drive({
      schedule: planArrivals({ arrivals: 'poisson', ratePerSecond, endMs: durationMs, seed }),
      endMs: durationMs,
      transport,
      targets: 1,
      timeoutMs,
      maxInFlight: 20_000,
      observer,
      clock: systemClock,
    })
    ends.push(end.then(() => observer.result()))
    // The next stage begins when this one's arrivals are over, while its last answers are still to come.
    await promise
  }
  const results = await Promise.all(ends)
  await transport.close()
  return results
}

process.stdout.write(`${JSON.stringify(await run(JSON.parse(process.argv[2]!) as Job))}\n`)
