import type { ObservabilityOptions } from '../options.ts'
import type { Scope } from '../promql.ts'

/** What the rules are made for. */
export type RuleOptions = Omit<ObservabilityOptions, 'traces'>

/** A series that Prometheus makes of others, named `level:metric:operations`. */
export type RecordingRule = {
  readonly record: string
  readonly expr: string
  /** Labels that the series has beside those of the expression. */
  readonly labels?: Readonly<Record<string, string>>
}

/** `page` wakes somebody: users are hurt now. `ticket` waits for the next working day. */
export type Severity = 'page' | 'ticket'

export type Alert = {
  /** The title of its section in docs/runbook.md, too. */
  readonly name: string
  readonly severity: Severity
  readonly expr: string
  /** A PromQL duration: for how long the expression must hold. */
  readonly for: string
  /** A PromQL duration: for how long it fires on after that; for what comes and goes. Default: not at all. */
  readonly keepFiringFor?: string
  /** What tells it from others of the same name, and labels that its expression does not give. */
  readonly labels?: Readonly<Record<string, string>>
  /** One line, in Prometheus' template language. */
  readonly summary: string
  /** What was measured, with its value and unit, and what was expected. */
  readonly description: string
}

/** Rules that Prometheus evaluates together, each after the one before. */
export type RuleGroup<Rule> = { readonly name: string; readonly rules: readonly Rule[] }

/** The service's own series. */
export const ofJob = ({ job }: Pick<RuleOptions, 'job'>): Scope => `job=${JSON.stringify(job)}`

/** The part of an expression that looks at a recorded series. */
export const recorded = (record: string, ...scopes: readonly Scope[]): string => `${record}{${scopes.join(',')}}`
