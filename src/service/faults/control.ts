import { Failure, InputError } from '../../kit/errors.ts'
import type { ProblemCode } from '../../contract/problems.ts'
import { type CrashKind, crashProcess } from './crash.ts'
import type { FaultReport, Faults } from './faults.ts'
import type { FaultPlan } from './plan.ts'

/** What the admin port does with the faults of a replica, whether it is one process or several workers. */
export type FaultControl = {
  /** Replaces all faults; resolves when they are in effect. */
  set(plan: FaultPlan): Promise<void>
  report(): Promise<ReplicaFaultReport>
  /** Says what makes a worker (default: the first that runs) crash, or throws `InputError` or `conflict`. */
  crashing(how: CrashKind, worker?: number): Crashing
}

export type ReplicaFaultReport = FaultReport & {
  /** Where there are several: what each counts since it started. */
  readonly workers?: readonly WorkerFaultReport[]
}

/** `silent`: it is gone, or too busy to answer in time; the counts are the last that it told. */
export type WorkerFaultReport = FaultReport['counts'] & { readonly worker: number; readonly silent: boolean }

export type Crashing = { readonly worker: number; readonly crash: () => void }

/** Controls the faults of this process, which is the only one of its replica. */
export const faultsOfProcess = (faults: Faults, crash: (how: CrashKind) => void = crashProcess): FaultControl => ({
  set: (plan) => {
    faults.set(plan)
    return Promise.resolve()
  },
  report: () => Promise.resolve(faults.report()),
  crashing: (how, worker = 1) => {
    if (worker !== 1) throw noSuchWorker(worker, 1)
    return { worker, crash: () => crash(how) }
  },
})

export const noSuchWorker = (worker: number, count: number): InputError =>
  new InputError([{ field: 'worker', value: worker, accepted: `a whole number from 1 to ${count}` }])

export const noneRuns = (detail: string): Failure<ProblemCode> => new Failure('conflict', { detail })
