import assert from 'node:assert/strict'
import { globSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { parse } from 'yaml'
import { runCommand } from '../../src/cli/commands.ts'
import type { CommandHost } from '../../src/cli/host.ts'
import { observabilityFiles } from '../../src/observability/files.ts'
import { defaultOptions } from '../../src/observability/options.ts'
import { needsPromtool, promtool } from '../support/promtool.ts'

const folderOf = (t: TestContext): string => {
  const folder = mkdtempSync(join(tmpdir(), 'plimsoll-observability-'))
  t.after(() => rmSync(folder, { recursive: true }))
  return folder
}

/** Runs one command line in this process. */
const run = async (...args: readonly string[]): Promise<{ code: number; out: string; err: string }> => {
  const said = { code: 0, out: '', err: '' }
  const host = {
    env: {},
    stdout: { write: (text: string) => (said.out += text) },
    stderr: { write: (text: string) => (said.err += text) },
    signal: new AbortController().signal,
    setExitCode: (code: number) => (said.code = code),
    exit: () => assert.fail('it must not end the process'),
  } as unknown as CommandHost
  await runCommand(['observability', ...args], host)
  return said
}

const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name).slice(folder.length + 1))

test('plimsoll observability writes every file and says which', async (t) => {
  const out = join(folderOf(t), 'made', 'on the way')
  const { code, out: said } = await run('--out', out)
  assert.equal(code, 0)
  const expected = observabilityFiles(defaultOptions)
  assert.deepEqual(new Set(filesIn(out)), new Set(Object.keys(expected)))
  for (const [path, text] of Object.entries(expected)) {
    assert.equal(readFileSync(join(out, path), 'utf8'), text)
    assert.ok(said.includes(`${join(out, path)}\n`), path)
  }
})

test('the same options give the same bytes, written over what was there', async (t) => {
  const out = folderOf(t)
  const texts = async (): Promise<string[]> => {
    assert.equal((await run('--out', out, '--job', 'shop')).code, 0)
    return filesIn(out).map((path) => readFileSync(join(out, path), 'utf8'))
  }
  assert.deepEqual(await texts(), await texts())
})

test('-o json is a list of the files, and nothing else on stdout', async (t) => {
  const out = folderOf(t)
  const { out: said } = await run('--out', out, '-o', 'json', '--slo-ms', '100')
  const result = JSON.parse(said) as { kind: string; requested: { sloMs: number }; files: string[] }
  assert.equal(result.kind, 'observability')
  assert.equal(result.requested.sloMs, 100)
  assert.deepEqual(new Set(result.files), new Set(filesIn(out).map((path) => join(out, path))))
})

test('job, SLO, Deployment, runbook and trace store reach what they are for', async (t) => {
  const out = folderOf(t)
  const given = ['--job', 'ns/shop', '--deployment', 'till', '--slo-ms', '100', '--availability', '99.5%']
  assert.equal(
    (await run('--out', out, ...given, '--in-time', '95%', '--runbook-url', 'https://r', '--traces', 'jaeger')).code,
    0,
  )
  const text = (path: string): string => readFileSync(join(out, path), 'utf8')
  assert.match(text('dashboards/service.json'), /le=\\"0\.1\\"/)
  assert.match(text('dashboards/service.json'), /\(1 - 0\.995\)/)
  assert.match(text('dashboards/service.json'), /\(1 - 0\.95\)/)
  assert.match(text('dashboards/service.json'), /"query": "jaeger"/)
  assert.match(text('rules/plimsoll-recording.yaml'), /job="ns\/shop"/)
  assert.match(text('rules/plimsoll-alerts.yaml'), /runbook_url: https:\/\/r#/)
  assert.match(text('scaling/hpa-cpu.yaml'), /name: till/)
  assert.match(text('scaling/keda-queue.yaml'), /job="ns\/shop"/)
})

test('all mistakes in the flags are told together, with exit code 2, and nothing is written', async () => {
  const { code, out, err } = await run('--job', 'a b', '--slo-ms', '0', '--availability', '1', '--traces', 'loki')
  assert.equal(code, 2)
  assert.equal(out, '')
  for (const field of ['--out', '--job', '--slo-ms', '--availability', '--traces'])
    assert.match(err, new RegExp(`^${field}: `, 'm'))
})

test('every YAML file is YAML, with a head that says what it is for', () => {
  const files = Object.entries(observabilityFiles(defaultOptions)).filter(([path]) => path.endsWith('.yaml'))
  assert.ok(files.length > 10)
  for (const [path, text] of files) {
    assert.equal(typeof parse(text), 'object', path)
    if (!path.startsWith('rules/')) assert.match(text, /^# [A-Z]/, path)
  }
})

test('an exemplar leads from the metrics to the traces that are provisioned beside them', () => {
  const { datasources } = parse(observabilityFiles(defaultOptions)['provisioning/grafana-datasources.yaml']!) as {
    datasources: {
      type: string
      uid: string
      jsonData?: { exemplarTraceIdDestinations: { name: string; datasourceUid: string }[] }
    }[]
  }
  const [metrics, traces] = datasources
  assert.deepEqual(metrics!.jsonData!.exemplarTraceIdDestinations, [{ name: 'trace_id', datasourceUid: traces!.uid }])
})

test('the configuration of Prometheus finds the rules that are written beside it', async (t) => {
  const out = folderOf(t)
  await run('--out', out)
  const { rule_files: patterns } = parse(readFileSync(join(out, 'provisioning/prometheus.yaml'), 'utf8')) as {
    rule_files: string[]
  }
  assert.deepEqual(
    patterns.flatMap((pattern) => globSync(join(out, 'provisioning', pattern))).map((path) => basename(path)),
    readdirSync(join(out, 'rules')),
  )
})

test('Prometheus takes the configuration that is written for it', { skip: needsPromtool }, () => {
  const text = observabilityFiles(defaultOptions)['provisioning/prometheus.yaml']!
  // Debian builds Prometheus without what finds pods in Kubernetes; all the rest is looked at.
  const config = text.replace(
    /kubernetes_sd_configs:\n\s+- role: pod/,
    'static_configs:\n      - targets: [127.0.0.1:9464]',
  )
  assert.notEqual(config, text)
  assert.equal(promtool(['check', 'config', '--syntax-only'], config), undefined)
})
