import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { stringify } from 'yaml'
import { loadMetrics } from '../../src/contract/load-metrics.ts'
import { serviceMetrics } from '../../src/contract/metrics.ts'
import { problems } from '../../src/contract/problems.ts'
import { dashboards } from '../../src/observability/dashboards/index.ts'
import { foreignMetrics } from '../../src/observability/foreign-metrics.ts'
import { defaultOptions } from '../../src/observability/options.ts'
import { alerts, recordingRules } from '../../src/observability/rules/index.ts'
import { knobNames } from '../../src/service/config.ts'
import { hasProgram, requirement } from '../support/requirement.ts'

const text = readFileSync(new URL('../../docs/runbook.md', import.meta.url), 'utf8')
const all = alerts(defaultOptions)
const names = [...new Set(all.map(({ name }) => name))]

/** Sections by their titles. */
const sections = new Map(
  text
    .split(/^## /m)
    .slice(1)
    .map((section) => [section.slice(0, section.indexOf('\n')), section] as const),
)
const sectionOf = (alert: string): string => sections.get(alert) ?? ''

const everyMatch = (within: string, shape: RegExp): string[] => [...within.matchAll(shape)].map((match) => match[1]!)

const queriesOf = (within: string): string[] => everyMatch(within, /```promql\n([\s\S]*?)\n\s*```/g)

/** What stands between single backticks. */
const wordsOf = (within: string): string[] => everyMatch(within.replaceAll(/```[\s\S]*?```/g, ''), /`([^`]+)`/g)

test('every alert has a section in the runbook, and every section but the first an alert', () => {
  assert.deepEqual([...sections.keys()].slice(1), names)
  assert.equal([...sections.keys()][0], 'First five minutes')
})

for (const name of names) {
  describe(`the section of ${name}`, () => {
    test('says how bad it is as the rule does', () => {
      const first = sectionOf(name).split('\n\n')[1]!
      const severities = new Set(all.filter((alert) => alert.name === name).map(({ severity }) => severity))
      assert.deepEqual(new Set(everyMatch(first, /\*\*(page|ticket)\b/g)), severities)
    })

    test('says where to look first, with a query, why it may be, what to do, and what is a false alarm', () => {
      const section = sectionOf(name)
      for (const part of ['**First look:**', '**Likely causes', 'hat to do', '**False alarm:**']) {
        assert.ok(section.includes(part), part)
      }
      assert.ok(queriesOf(section).length > 0, 'no query')
    })
  })
}

describe('what the runbook names exists', () => {
  test('metrics and recorded series', () => {
    const recorded = recordingRules(defaultOptions).flatMap(({ rules }) => rules.map(({ record }) => record))
    const known = new Set([...Object.keys({ ...serviceMetrics, ...loadMetrics, ...foreignMetrics }), ...recorded])
    const inQueries = queriesOf(text).flatMap((query) => everyMatch(query, /([a-zA-Z_:][\w:]*)\{/g))
    const inText = wordsOf(text).filter((word) => /^(plimsoll|http|db|nodejs|v8js|process|kube)_\w+$/.test(word))
    const named = [...inQueries, ...inText]
    assert.ok(named.length > 40)
    assert.deepEqual(
      named.filter((name) => !known.has(name) && !known.has(name.replace(/_(bucket|count|sum)$/, ''))),
      [],
    )
  })

  test('knobs', () => {
    const ofNode = ['NODE_OPTIONS']
    const known = new Set([...knobNames, ...ofNode])
    const named = wordsOf(text).flatMap((word) => everyMatch(word, /^([A-Z][A-Z0-9_]+)(?:=.*)?$/g))
    assert.ok(named.length > 30)
    assert.deepEqual(
      named.filter((name) => !known.has(name)),
      [],
    )
  })

  test('panels', () => {
    const known = new Set(
      Object.values(dashboards(defaultOptions)).flatMap(({ title, rows }) =>
        rows.flatMap(({ panels }) => panels.map((panel) => `${title.replace('Plimsoll / ', '')} / ${panel.title}`)),
      ),
    )
    const named = everyMatch(text.replaceAll(/\s+/g, ' '), /(?<!\*)\*([^*]+ \/ [^*]+)\*(?!\*)/g)
    assert.ok(named.length > 40)
    assert.deepEqual(
      named.filter((panel) => !known.has(panel)),
      [],
    )
  })

  test('sections that are linked to', () => {
    const anchors = new Set([...sections.keys()].map((title) => `#${title.toLowerCase().replaceAll(' ', '-')}`))
    assert.deepEqual(
      everyMatch(text, /\]\((#[^)]+)\)/g).filter((anchor) => !anchors.has(anchor)),
      [],
    )
  })
})

test('the section of the error budget leads on from every problem that is a 5xx', () => {
  const named = new Set(wordsOf(sectionOf('PlimsollErrorBudgetBurn')))
  const codes = Object.entries(problems).flatMap(([code, { status }]) => (status >= 500 ? [code] : []))
  assert.deepEqual(
    codes.filter((code) => !named.has(code)),
    [],
  )
})

const skip = requirement('promtool (Debian package prometheus)', hasProgram('promtool'))

test('the queries of the runbook are PromQL', { skip }, () => {
  const rules = queriesOf(text).map((expr, index) => ({ record: `query:${index}`, expr: expr.trim() }))
  const folder = mkdtempSync(join(tmpdir(), 'plimsoll-runbook-'))
  try {
    writeFileSync(join(folder, 'queries.yaml'), stringify({ groups: [{ name: 'runbook', rules }] }))
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'rules', join(folder, 'queries.yaml')], {
      encoding: 'utf8',
    })
    assert.equal(status, 0, stdout + stderr)
  } finally {
    rmSync(folder, { recursive: true })
  }
})
