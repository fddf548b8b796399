import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Command } from 'commander'
import { parseShare, parseWhole } from '../kit/units.ts'
import { defaultOptions, type ObservabilityOptions, traceStores } from '../observability/options.ts'
import { FlagReader, oneOf, within } from './flag-reader.ts'
import type { CommandHost } from './host.ts'

/** The flags of `plimsoll observability` as they were typed; those with a default are always there. */
type ObservabilityFlags = {
  readonly out?: string
  readonly job: string
  readonly deployment: string
  readonly sloMs: string
  readonly availability: string
  readonly inTime: string
  readonly runbookUrl: string
  readonly traces: string
  readonly output: string
}

const percent = (share: number): string => `${Number((share * 100).toFixed(6))}%`

/** Adds `plimsoll observability --out DIR`. */
export const addObservabilityCommand = (program: Command, host: CommandHost): void => {
  const { job, deployment, sloMs, sloObjective, latencyObjective, runbookUrl, traces } = defaultOptions
  program
    .command('observability')
    .summary('write dashboards, alerts and autoscalers for the service')
    .description(
      'Writes Grafana dashboards, recording rules and alerts of Prometheus, HPAs, KEDA ScaledObjects and rules of ' +
        'prometheus-adapter, and what Grafana and Prometheus need to load them. Files of the same name are replaced.',
    )
    .option('--out <folder>', 'where to write; made if it is not there (required)')
    .option('--job <name>', "the label `job` of the service's series in Prometheus", job)
    .option('--deployment <name>', 'the Deployment to scale', deployment)
    .option('--slo-ms <ms>', "the service's SLO_MS: when a request should be answered", String(sloMs))
    .option('--availability <share>', 'requests that must not end in a server error', percent(sloObjective))
    .option('--in-time <share>', 'requests that must be answered within the SLO', percent(latencyObjective))
    .option('--runbook-url <url>', 'where docs/runbook.md is published; alerts link to its sections', runbookUrl)
    .option('--traces <store>', `where traces are looked up: ${traceStores.join(' or ')}`, traces)
    .option('-o, --output <format>', 'text or json', 'text')
    .action((flags: ObservabilityFlags) => observability(host, flags))
}

const observability = async (host: CommandHost, given: ObservabilityFlags): Promise<void> => {
  const flags = new FlagReader()
  const output = flags.read('--output', given.output, oneOf(['text', 'json']), 'one of text, json')
  const out = flags.read('--out', given.out, (text) => (text === '' ? undefined : text), 'a folder')
  const options = readOptions(flags, given)
  flags.check()
  // Loaded only now, with the YAML library, which no other command must wait for.
  const { observabilityFiles } = await import('../observability/files.ts')
  const files = observabilityFiles(options)
  for (const [path, text] of Object.entries(files)) await write(join(out, path), text)
  const written = Object.keys(files).map((path) => join(out, path))
  const result = { schemaVersion: 1, kind: 'observability', requested: options, files: written }
  host.stdout.write(output === 'json' ? `${JSON.stringify(result, null, 2)}\n` : describe(out, written))
}

const readOptions = (flags: FlagReader, given: ObservabilityFlags): ObservabilityOptions => {
  const objective = (field: string, text: string): number =>
    flags.read(field, text, within(0.5, 0.999999, parseObjective), 'a share from 50% to 99.9999%, such as 99.9%')
  return {
    job: flags.read('--job', given.job, matching(/^[\w.:/-]{1,100}$/), 'a name of letters, digits and . _ : / -'),
    deployment: flags.read('--deployment', given.deployment, matching(kubernetesName), 'the name of a Deployment'),
    sloMs: flags.read('--slo-ms', given.sloMs, within(1, 600_000, parseWhole), 'a whole number from 1 to 600000'),
    sloObjective: objective('--availability', given.availability),
    latencyObjective: objective('--in-time', given.inTime),
    runbookUrl: flags.read('--runbook-url', given.runbookUrl, matching(/^[^\s#"]{1,500}$/), 'a URL or path without #'),
    traces: flags.read('--traces', given.traces, oneOf(traceStores), `one of ${traceStores.join(', ')}`),
  }
}

/** 99.9 / 100 is not 0.999 to the last bit. */
const parseObjective = (text: string): number | undefined => {
  const share = parseShare(text)
  return share === undefined ? undefined : Number(share.toFixed(9))
}

/** As Kubernetes names objects: RFC 1123, and short enough for the label of their pods. */
const kubernetesName = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/

const matching =
  (shape: RegExp) =>
  (text: string): string | undefined =>
    shape.test(text) ? text : undefined

const write = async (path: string, text: string): Promise<void> => {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, text)
}

const describe = (out: string, written: readonly string[]): string =>
  [
    ...written,
    '',
    `Grafana: import ${join(out, 'dashboards')}/*.json, or provision them with ${join(out, 'provisioning')}/grafana-*.yaml.`,
    `Prometheus: name ${join(out, 'rules')}/*.yaml in rule_files; provisioning/prometheus.yaml scrapes a cluster.`,
    `Kubernetes: kubectl apply one of ${join(out, 'scaling')}/hpa-*.yaml or keda-*.yaml; docs/scaling.md says which.`,
    '',
  ].join('\n')
