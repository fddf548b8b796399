import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hasProgram, requirement } from './requirement.ts'

/** For the `skip` option of tests that need promtool, which comes with Debian's package prometheus. */
export const needsPromtool = requirement('promtool', hasProgram('promtool'))

/** Runs `promtool ARGS FILE` on a file with this content, which is JSON or YAML. Returns all it said where it failed. */
export const promtool = (args: readonly string[], content: unknown): string | undefined => {
  const folder = mkdtempSync(join(tmpdir(), 'plimsoll-promtool-'))
  try {
    const file = join(folder, 'file.yaml')
    writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content))
    const { status, stdout, stderr } = spawnSync('promtool', [...args, file], { encoding: 'utf8', timeout: 60_000 })
    return status === 0 ? undefined : `${stdout}\n${stderr}`
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** A series over time in promtool's notation: `0+1x10` begins at 0 and grows by 1 at each of 10 further steps. */
export type Series = Readonly<Record<string, string>>

/** What an expression should give at a time: values by the labels of their series. */
export type Expectation = {
  readonly expr: string
  readonly at: string
  readonly values: Readonly<Record<string, number>>
}

/** Evaluates expressions over made-up series, one value each 15 s. Returns what differs, undefined where nothing does. */
export const evaluate = (series: Series, expectations: readonly Expectation[]): string | undefined =>
  promtool(['test', 'rules'], {
    evaluation_interval: '15s',
    tests: [
      {
        interval: '15s',
        input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
        promql_expr_test: expectations.map(({ expr, at, values }) => ({
          // Old ones compare to the last bit.
          expr: `round(${expr}, 0.000001)`,
          eval_time: at,
          exp_samples: Object.entries(values).map(([labels, value]) => ({ labels, value })),
        })),
      },
    ],
  })
