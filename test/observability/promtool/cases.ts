import type { Series } from './series.ts'

/** An alert that fires, as Alertmanager would get it; what is left out is not looked at. */
export type Fired = {
  /** Beside `severity`, which is the rule's. */
  readonly labels: Readonly<Record<string, string>>
  readonly summary?: string
  readonly description?: string
}

/** A state of the world in which an alert fires, or does not. */
export type AlertCase = {
  readonly alert: string
  /** One of several alerts of that name: that with this long window. */
  readonly longWindow?: string
  /** What is so about it: `fires with ...`, `is silent with ...`. */
  readonly law: string
  readonly series: Series
  /** When it is looked at. */
  readonly atMinutes: number
  /** How often rules are evaluated; default: every minute. */
  readonly everyMinutes?: number
  /** Empty: it is silent. */
  readonly fires: readonly Fired[]
}

export type RecordedSample = { readonly labels: Readonly<Record<string, string>>; readonly value: number }

/** What recorded series must be. */
export type RecordingCase = {
  readonly series: Series
  readonly atMinutes: number
  readonly everyMinutes?: number
  /** By the name of the series. */
  readonly values: Readonly<Record<string, RecordedValue>>
}

export type RecordedValue = {
  /** Empty: there is none. */
  readonly samples: readonly RecordedSample[]
  /** To the multiple of which the values are rounded; default 0.0001. */
  readonly roundTo?: number
}

export type Pair<Value> = {
  readonly longWindow?: string
  /** The same series for all: the silent ones differ from the one that fires in a value, or in the time. */
  readonly series: (value: Value) => Series
  readonly atMinutes: number
  readonly everyMinutes?: number
  readonly fires: Fired & { readonly with: Value; readonly because: string }
  readonly silent: readonly { readonly with: Value; readonly because: string; readonly atMinutes?: number }[]
}

/** A case in which an alert fires, and those next to it in which it does not. */
export const pair = <Value>(alert: string, { fires, silent, series, ...same }: Pair<Value>): AlertCase[] => {
  const { with: value, because, ...fired } = fires
  return [
    { ...same, alert, law: `fires ${because}`, series: series(value), fires: [fired] },
    ...silent.map(({ with: value, because, ...other }) => {
      return { ...same, ...other, alert, law: `is silent ${because}`, series: series(value), fires: [] }
    }),
  ]
}
