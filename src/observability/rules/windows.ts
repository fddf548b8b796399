/** A window of time as PromQL writes it, in seconds. */
export const windowSeconds = {
  '5m': 300,
  '30m': 1_800,
  '1h': 3_600,
  '2h': 7_200,
  '6h': 21_600,
  '1d': 86_400,
  '3d': 259_200,
}

export type Window = keyof typeof windowSeconds

/** Every window that a ratio is recorded for. */
export const windows = Object.keys(windowSeconds) as Window[]

/**
 * When an error budget is spent too fast: at `factor` times the speed that would use up all of it in 30 days, over the
 * long window (so that it matters) and the short one (so that it still goes on). Google, The Site Reliability Workbook,
 * chapter 5, table 5-8: 2 % of the budget in an hour, 5 % in six, 10 % in a day, 10 % in three.
 */
export type Burn = {
  readonly factor: number
  readonly long: Window
  readonly short: Window
  readonly severity: 'page' | 'ticket'
  /** For how long that must hold, a PromQL duration. The windows damp enough for short ones. */
  readonly for: string
  /** The share of the budget that is gone when it began, for a person. */
  readonly spent: string
}

export const burns: readonly Burn[] = [
  { factor: 14.4, long: '1h', short: '5m', severity: 'page', for: '2m', spent: '2 %' },
  { factor: 6, long: '6h', short: '30m', severity: 'page', for: '5m', spent: '5 %' },
  { factor: 3, long: '1d', short: '2h', severity: 'ticket', for: '15m', spent: '10 %' },
  { factor: 1, long: '3d', short: '6h', severity: 'ticket', for: '30m', spent: '10 %' },
]
