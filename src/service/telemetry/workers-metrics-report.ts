import type { Metric } from '../../kit/metrics.ts'
import type { Clock } from '../../kit/timers.ts'
import { type PackedMetric, packMetrics } from './workers-metrics-packed.ts'

/** With this the parent of several workers asks one for its figures: once for each round, which has a number. */
export type MetricsOrder = { readonly kind: 'tell-metrics'; readonly round: number }

/** The figures of a worker; without a round they were not asked for. */
export type MetricsNews = {
  readonly kind: 'metrics'
  readonly round?: number
  readonly metrics: readonly PackedMetric[]
}

export type ReportOptions = {
  readonly collect: () => Promise<readonly Metric[]>
  /** Resolves when it is on its way. */
  readonly tell: (news: MetricsNews) => Promise<void>
  readonly listen: (hear: (message: unknown) => void) => void
  readonly clock: Clock
  readonly onFailure: (err: unknown) => void
}

/** What a worker that dies has counted since its last report is lost, at most that of so long. */
const reportEveryMs = 2_000

const isOrder = (message: unknown): message is MetricsOrder =>
  (message as { kind?: string } | null)?.kind === 'tell-metrics'

/**
 * Lets a worker tell its parent its figures: now, when asked, and each 2 s, without exemplars, so that the parent has some
 * of one that is blocked or dies. Disposing of it tells them for the last time.
 */
export const reportMetrics = ({ collect, tell, listen, clock, onFailure }: ReportOptions): AsyncDisposable => {
  let timer: unknown
  let before: Promise<void> = Promise.resolve()
  // One after the other: the parent believes what it hears last, and a total that was collected before would have fallen.
  const inTurn = (act: () => Promise<void>): Promise<void> => (before = before.then(act).catch(onFailure))
  const report = async (): Promise<void> => {
    await tell({ kind: 'metrics', metrics: packMetrics(await collect(), { exemplars: false }) })
  }
  const answer = async ({ round }: MetricsOrder): Promise<void> => {
    await tell({ kind: 'metrics', round, metrics: packMetrics(await collect(), { exemplars: true }) })
  }
  const again = (): void => {
    void inTurn(report)
    timer = clock.setTimeout(again, reportEveryMs)
    ;(timer as { unref?: () => void }).unref?.()
  }
  listen((message) => {
    if (isOrder(message)) void inTurn(() => answer(message))
  })
  again()
  return {
    [Symbol.asyncDispose]: async () => {
      clock.clearTimeout(timer as never)
      await inTurn(report)
    },
  }
}
