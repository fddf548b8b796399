import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { alertGroups, recordingRules, type RuleOptions, ruleFiles } from '../../../src/observability/rules/index.ts'

/** What promtool said, and whether it was content. */
export type Verdict = { readonly ok: boolean; readonly said: string }

/** The rule files in a folder of their own, with promtool to judge them. */
export class RuleFolder implements Disposable {
  readonly files: readonly string[]
  /** What is recorded before what looks at it: promtool else takes any order. */
  readonly #order: readonly string[]
  readonly #folder = mkdtempSync(join(tmpdir(), 'plimsoll-rules-'))

  constructor(options: RuleOptions) {
    const files = ruleFiles(options)
    this.files = Object.keys(files)
    this.#order = [...recordingRules(options), ...alertGroups(options)].map(({ name }) => name)
    for (const [name, text] of Object.entries(files)) writeFileSync(join(this.#folder, name), text)
  }

  check(): Verdict {
    return this.#promtool(['check', 'rules', '--lint=all', '--lint-fatal', ...this.files])
  }

  /** Runs one unit test; `minutes` is how often rules are evaluated. */
  test(unitTest: object, minutes: number): Verdict {
    const file = {
      rule_files: this.files,
      evaluation_interval: `${minutes}m`,
      group_eval_order: this.#order,
      tests: [unitTest],
    }
    writeFileSync(join(this.#folder, 'unit-test.yaml'), stringify(file))
    return this.#promtool(['test', 'rules', 'unit-test.yaml'])
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true })
  }

  #promtool(parameters: readonly string[]): Verdict {
    const { status, stdout, stderr } = spawnSync('promtool', parameters, { cwd: this.#folder, encoding: 'utf8' })
    return { ok: status === 0, said: stdout + stderr }
  }
}
