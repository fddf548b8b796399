import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { parse } from 'yaml'
import { loadMetrics } from '../../src/contract/load-metrics.ts'
import { serviceMetrics } from '../../src/contract/metrics.ts'
import { foreignMetrics } from '../../src/observability/foreign-metrics.ts'
import { defaultOptions } from '../../src/observability/options.ts'
import {
  type Alert,
  alerts,
  type RecordingRule,
  recordingRules,
  ruleFiles,
} from '../../src/observability/rules/index.ts'
import { hasProgram, requirement } from '../support/requirement.ts'
import { burnCases } from './promtool/burn-cases.ts'
import type { AlertCase } from './promtool/cases.ts'
import { dependencyCases } from './promtool/dependency-cases.ts'
import { fleetCases } from './promtool/fleet-cases.ts'
import { lateCase, recordingCases } from './promtool/recording-cases.ts'
import { replicaCases } from './promtool/replica-cases.ts'
import { requestCases } from './promtool/request-cases.ts'
import { RuleFolder } from './promtool/run.ts'
import { isAbout, lawOf, unitTest, windowOf } from './promtool/unit-test.ts'

const all = alerts(defaultOptions)
const recording = recordingRules(defaultOptions).flatMap(({ rules }) => rules)
const alertCases: readonly AlertCase[] = [
  ...burnCases,
  ...requestCases,
  ...replicaCases,
  ...dependencyCases,
  ...fleetCases,
]

const skip = requirement('promtool (Debian package prometheus)', hasProgram('promtool'))

const titleOf = (alert: Alert): string => [alert.name, windowOf(alert)].filter(Boolean).join(' over ')

describe('promtool accepts and runs the rules', { skip }, () => {
  const folder = skip === false ? new RuleFolder(defaultOptions) : undefined
  after(() => folder?.[Symbol.dispose]())

  test('the files have no fault and no lint', () => {
    const { ok, said } = folder!.check()
    assert.ok(ok, said)
  })

  for (const bound of ['1', '1.0']) {
    test(`an SLO of 1 s is counted by the bucket ${bound}: Prometheus 2 keeps what was written, 3 writes a float`, () => {
      using seconds = new RuleFolder({ ...defaultOptions, sloMs: 1_000 })
      const { ok, said } = seconds.test(unitTest(lateCase(bound)), 1)
      assert.ok(ok, said)
    })
  }

  for (const one of [...alertCases, ...recordingCases]) {
    test(lawOf(one), () => {
      const { ok, said } = folder!.test(unitTest(one), one.everyMinutes ?? 1)
      assert.ok(ok, said)
    })
  }

  test('a wrong expectation is noticed', () => {
    const [firing, silent] = ['fires', 'is silent'].map((law) =>
      alertCases.find((one) => one.alert === 'PlimsollReplicaDown' && one.law.startsWith(law))!,
    ) as [AlertCase, AlertCase]
    const [name, { samples }] = Object.entries(recordingCases[0]!.values)[0]!
    const more = { samples: samples.map(({ labels, value }) => ({ labels, value: value + 0.001 })) }
    const wrong = [
      unitTest({ ...silent, fires: firing.fires }),
      unitTest({ ...firing, fires: [] }),
      unitTest({ ...firing, fires: [{ ...firing.fires[0]!, description: 'Another text.' }] }),
      unitTest({ ...recordingCases[0]!, values: { [name]: more } }),
    ]
    assert.deepEqual(
      wrong.map((test) => folder!.test(test, 1).ok),
      wrong.map(() => false),
    )
  })
})

describe('the cases leave nothing out', () => {
  for (const alert of all) {
    test(`${titleOf(alert)} has a case in which it fires and one in which it does not`, () => {
      const about = alertCases.filter((one) => isAbout(alert, one))
      assert.ok(
        about.some(({ fires }) => fires.length > 0),
        'none fires',
      )
      assert.ok(
        about.some(({ fires }) => fires.length === 0),
        'none is silent',
      )
    })
  }

  test('every alert has a case in which its texts are read', () => {
    const read = new Set(alertCases.flatMap(({ alert, fires }) => (fires[0]?.description === undefined ? [] : [alert])))
    assert.deepEqual(
      [...new Set(all.map(({ name }) => name))].filter((name) => !read.has(name)),
      [],
    )
  })

  test('every recorded series has a case', () => {
    assert.deepEqual(
      recording.filter((rule) => !isChecked(rule)),
      [],
    )
  })

  test('the cases name alerts that exist', () => {
    const names = new Set(all.map(({ name }) => name))
    assert.deepEqual(
      alertCases.filter(({ alert }) => !names.has(alert)),
      [],
    )
  })
})

describe('every rule', () => {
  test('has a name that is its own', () => {
    const names = [
      ...all.map(titleOf),
      ...recording.map(({ record, labels }) => `${record} ${labels?.['resource'] ?? ''}`),
    ]
    assert.equal(new Set(names).size, names.length)
  })

  test('looks only at metrics that exist, and at series that are recorded', () => {
    const known = new Set(Object.keys({ ...serviceMetrics, ...loadMetrics, ...foreignMetrics }))
    const recordedHere = new Set(recording.map(({ record }) => record))
    const unknown = [...all, ...recording]
      .flatMap(({ expr }) => namesIn(expr))
      .filter((name) => !recordedHere.has(name) && !known.has(name) && !known.has(name.replace(histogramPart, '')))
    assert.deepEqual(unknown, [])
  })

  test('that records has a name level:metric:operations', () => {
    const shape = /^[a-z_]+:[a-z][a-z0-9_]+:[a-z0-9_]+$/
    assert.deepEqual(
      recording.map(({ record }) => record).filter((record) => !shape.test(record)),
      [],
    )
  })

  test('that alerts says how bad it is, for how long, and where to read on', () => {
    const files = ruleFiles({ ...defaultOptions, runbookUrl: 'https://example.org/runbook' })
    const { groups } = parse(files['plimsoll-alerts.yaml']!) as {
      readonly groups: readonly { readonly rules: readonly WrittenAlert[] }[]
    }
    for (const rule of groups.flatMap(({ rules }) => rules)) {
      assert.match(rule.for, /^\d+m$/)
      assert.match(rule.labels.severity, /^(page|ticket)$/)
      assert.equal(rule.annotations.runbook_url, `https://example.org/runbook#${rule.alert.toLowerCase()}`)
    }
  })

  test('that cannot be reached is left out', () => {
    assert.deepEqual(windowsAt(0.99), ['1h', '6h', '1d', '3d'])
    assert.deepEqual(windowsAt(0.9), ['6h', '1d', '3d'])
  })

  test('is written as the same bytes each time', () => {
    assert.deepEqual(ruleFiles(defaultOptions), ruleFiles({ ...defaultOptions }))
  })
})

const histogramPart = /_(bucket|count|sum)$/

/** Names of series in an expression: what stands before braces. */
const namesIn = (expr: string): string[] => [...expr.matchAll(/([a-zA-Z_:][a-zA-Z0-9_:]*)\{/g)].map(([, name]) => name!)

const isChecked = ({ record, labels: { resource } = {} }: RecordingRule): boolean =>
  recordingCases.some(({ values }) =>
    values[record]?.samples.some(({ labels }) => resource === undefined || labels['resource'] === resource),
  )

const windowsAt = (latencyObjective: number): (string | undefined)[] =>
  alerts({ ...defaultOptions, latencyObjective })
    .filter(({ name }) => name === 'PlimsollLatencyBudgetBurn')
    .map(windowOf)

type WrittenAlert = {
  readonly alert: string
  readonly for: string
  readonly labels: { readonly severity: string }
  readonly annotations: { readonly runbook_url: string }
}
