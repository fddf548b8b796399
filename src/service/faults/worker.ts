import { type CrashKind, crashProcess } from './crash.ts'
import type { FaultReport, Faults } from './faults.ts'
import type { FaultPlan } from './plan.ts'

/** What the parent of several workers tells one of them. Each but the last is answered with `faults`. */
export type FaultOrder =
  | { readonly kind: 'set-faults'; readonly plan: FaultPlan }
  | { readonly kind: 'report-faults' }
  | { readonly kind: 'crash'; readonly how: CrashKind }

/** What a worker tells its parent: that it has come up and awaits `set-faults`, and how its faults stand. */
export type FaultNews = { readonly kind: 'faults-awaited' } | { readonly kind: 'faults'; readonly report: FaultReport }

const isOrder = (message: unknown): message is FaultOrder =>
  ['set-faults', 'report-faults', 'crash'].includes((message as { kind?: string } | null)?.kind ?? '')

/** The channel of a worker to its parent. */
export type Channel = {
  readonly tell: (news: FaultNews) => void
  readonly listen: (hear: (message: unknown) => void) => void
}

/**
 * Lets the parent rule the faults of this worker. Resolves when they are as the parent has them, so that a worker which
 * replaces another never serves a request without.
 */
export const obeyParent = (
  faults: Faults,
  { tell, listen }: Channel,
  crash: (how: CrashKind) => void = crashProcess,
): Promise<void> =>
  new Promise((resolve) => {
    listen((message) => {
      if (!isOrder(message)) return
      if (message.kind === 'crash') return crash(message.how)
      if (message.kind === 'set-faults') faults.set(message.plan)
      tell({ kind: 'faults', report: faults.report() })
      resolve()
    })
    tell({ kind: 'faults-awaited' })
  })
