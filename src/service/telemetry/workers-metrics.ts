import { type Metric, mergeMetrics, totalsOf } from '../../kit/metrics.ts'
import type { Clock } from '../../kit/timers.ts'
import { unpackMetrics } from './workers-metrics-packed.ts'
import type { MetricsNews, MetricsOrder } from './workers-metrics-report.ts'

/** How long a scrape waits for a worker; one that is blocked may take longer than Prometheus waits. */
const patienceMs = 250

type Ask = (order: MetricsOrder) => void

/** What is known of a worker's process. It is asked for figures once it has told some by itself. */
class WorkerFigures {
  /** The last that it told. */
  #last: MetricsNews | undefined
  #gone = false
  readonly #ask: Ask
  readonly #clock: Clock
  /** Those who wait for it, by the round that they began. */
  readonly #awaiting = new Map<number, () => void>()

  constructor(ask: Ask, clock: Clock) {
    this.#ask = ask
    this.#clock = clock
  }

  heard(news: MetricsNews): void {
    this.#last = news
    if (news.round !== undefined) this.#awaiting.get(news.round)?.()
  }

  gone(): void {
    this.#gone = true
    for (const stopWaiting of this.#awaiting.values()) stopWaiting()
  }

  /** Resolves with whether the figures are now as good as they will be: it has answered, or is gone, or is not up yet. */
  refresh(round: number): Promise<boolean> {
    if (this.#gone || this.#last === undefined) return Promise.resolve(true)
    return new Promise((resolve) => {
      const end = (answered: boolean): void => {
        this.#clock.clearTimeout(timer as never)
        this.#awaiting.delete(round)
        resolve(answered)
      }
      const timer = this.#clock.setTimeout(() => end(false), patienceMs)
      this.#awaiting.set(round, () => end(true))
      this.#ask({ kind: 'tell-metrics', round })
    })
  }

  /** Of one that is gone only what it has counted: it has no level of anything any more. */
  metrics(): Metric[] {
    const metrics = unpackMetrics(this.#last?.metrics ?? [])
    return this.#gone ? totalsOf(metrics) : metrics
  }
}

export type { WorkerFigures }

/** A worker's number, with the totals of the processes that have borne it before the present one. */
type Post = { before: readonly Metric[]; present: WorkerFigures | undefined }

/**
 * The metrics of several workers as one. A scrape asks each, and takes the last known figures of one that does not answer
 * within 250 ms. What a worker has counted stays when it is gone: a sum over all workers never falls.
 */
export class WorkersMetrics {
  readonly #clock: Clock
  readonly #posts: readonly Post[]
  #rounds = 0
  /** Scrapes that went on without an answer of a worker, once for each of them. */
  missed = 0

  constructor(count: number, clock: Clock) {
    this.#clock = clock
    this.#posts = Array.from({ length: count }, () => ({ before: [], present: undefined }))
  }

  /** A process has been started as this worker. Whoever was it before has nothing more to say. */
  started(worker: number, ask: Ask): WorkerFigures {
    const post = this.#posts[worker - 1]!
    post.present?.gone()
    post.before = together(post)
    return (post.present = new WorkerFigures(ask, this.#clock))
  }

  async collect(): Promise<Metric[]> {
    const round = ++this.#rounds
    const present = this.#posts.flatMap((post) => post.present ?? [])
    const answered = await Promise.all(present.map((figures) => figures.refresh(round)))
    this.missed += answered.filter((hasAnswered) => !hasAnswered).length
    // One sum for each worker first, and then in their order: see mergeMetrics.
    return mergeMetrics(this.#posts.map(together))
  }
}

const together = ({ before, present }: Post): Metric[] => mergeMetrics([before, present?.metrics() ?? []])
