import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { parse } from 'yaml'
import { serviceMetrics } from '../../src/contract/metrics.ts'
import { defaultOptions } from '../../src/observability/options.ts'
import { adapterQuery, adapterSeries } from '../../src/observability/scaling/adapter.ts'
import { quantity } from '../../src/observability/scaling/hpa.ts'
import { scalingFiles } from '../../src/observability/scaling/index.ts'
import { kedaQueries } from '../../src/observability/scaling/keda.ts'
import { cpuTargetPercent, scalingMetrics } from '../../src/observability/scaling/targets.ts'

type Target = { readonly type: string; readonly averageUtilization?: number; readonly averageValue?: string }
type Metric = {
  readonly type: 'Pods' | 'ContainerResource'
  readonly pods?: { readonly metric: { readonly name: string }; readonly target: Target }
  readonly containerResource?: { readonly name: string; readonly container: string; readonly target: Target }
}
type Policy = { readonly type: string; readonly value: number; readonly periodSeconds: number }
type Direction = {
  readonly stabilizationWindowSeconds: number
  readonly selectPolicy: string
  readonly policies: readonly Policy[]
}
type Behavior = { readonly scaleUp: Direction; readonly scaleDown: Direction }
type Hpa = {
  readonly apiVersion: string
  readonly kind: string
  readonly spec: {
    readonly scaleTargetRef: { readonly kind: string; readonly name: string }
    readonly minReplicas: number
    readonly maxReplicas: number
    readonly metrics: readonly Metric[]
    readonly behavior: Behavior
  }
}
type Trigger = {
  readonly type: string
  readonly metricType: string
  readonly metadata: Readonly<Record<string, string>>
}
type ScaledObject = {
  readonly spec: {
    readonly advanced: { readonly horizontalPodAutoscalerConfig: { readonly behavior: Behavior } }
    readonly triggers: readonly Trigger[]
  }
}

const files = scalingFiles({ ...defaultOptions, job: 'shop', deployment: 'till' })
const read = <Shape>(prefix: string): [string, Shape][] =>
  Object.entries(files)
    .filter(([file]) => file.startsWith(prefix))
    .map(([file, text]) => [file, parse(text) as Shape])
const hpas = read<Hpa>('hpa-')
const scaledObjects = read<ScaledObject>('keda-')
const [[, adapter]] = read<{ rules: { custom: readonly { name: { as: string }; metricsQuery: string }[] } }>(
  'prometheus-adapter',
) as [[string, { rules: { custom: readonly { name: { as: string }; metricsQuery: string }[] } }]]
const made = new Set(adapter.rules.custom.map(({ name }) => name.as))

test('there is an HPA and a ScaledObject for CPU, requests in flight, the event loop and the queue', () => {
  const measures = ['cpu', 'in-flight', 'event-loop', 'queue']
  assert.deepEqual(
    hpas.map(([file]) => file),
    measures.map((measure) => `hpa-${measure}.yaml`),
  )
  assert.deepEqual(
    scaledObjects.map(([file]) => file),
    measures.map((measure) => `keda-${measure}.yaml`),
  )
})

/** The rules by which the API server judges `behavior`: pkg/apis/autoscaling/validation of Kubernetes. */
const assertValid = ({ scaleUp, scaleDown }: Behavior): void => {
  for (const { stabilizationWindowSeconds, selectPolicy, policies } of [scaleUp, scaleDown]) {
    assert.ok(stabilizationWindowSeconds >= 0 && stabilizationWindowSeconds <= 3_600)
    assert.ok(['Max', 'Min', 'Disabled'].includes(selectPolicy))
    assert.ok(policies.length > 0)
    for (const { type, value, periodSeconds } of policies) {
      assert.ok(['Pods', 'Percent'].includes(type) && value > 0 && periodSeconds >= 1 && periodSeconds <= 1_800)
    }
  }
}

test('every HPA is one that the API server accepts, for the Deployment that was named', () => {
  for (const [file, { apiVersion, kind, spec }] of hpas) {
    assert.equal(`${apiVersion} ${kind}`, 'autoscaling/v2 HorizontalPodAutoscaler', file)
    assert.deepEqual(spec.scaleTargetRef, { apiVersion: 'apps/v1', kind: 'Deployment', name: 'till' })
    assert.ok(spec.minReplicas >= 1 && spec.maxReplicas >= spec.minReplicas, file)
    assertValid(spec.behavior)
    for (const { type, pods, containerResource } of spec.metrics) {
      const target = (type === 'Pods' ? pods : containerResource)!.target
      if (type === 'Pods') assert.match(target.averageValue!, /^[1-9]\d*m?$/, file)
      else assert.ok(target.averageUtilization! >= 1, file)
    }
  }
})

test('every metric of pods that an HPA names is made by a rule of the adapter', () => {
  const named = hpas.flatMap(([, { spec }]) => spec.metrics.flatMap(({ pods }) => pods?.metric.name ?? []))
  assert.deepEqual(new Set(named), made)
})

test('the queue never scales alone: empty, it asks for no replicas at all', () => {
  for (const [file, { spec }] of hpas) {
    const names = spec.metrics.map(({ type, pods }) => pods?.metric.name ?? type)
    if (names.includes(scalingMetrics.queue.name)) assert.ok(names.length > 1, file)
  }
  for (const [file, { spec }] of scaledObjects) {
    const queries = spec.triggers.map(({ metadata }) => metadata['query'])
    if (queries.some((query) => query?.includes('queued') === true)) assert.ok(queries.length > 1, file)
  }
})

test('nothing scales on latency: it does not fall with more replicas where something else is slow', () => {
  for (const text of Object.values(files)) assert.doesNotMatch(text, /duration|quantile|latency/)
})

test('no file sets the number of replicas, and each says why the Deployment must not either', () => {
  for (const [file, text] of Object.entries(files)) {
    assert.doesNotMatch(text, /^\s*replicas:/m, file)
    if (!file.startsWith('prometheus')) assert.match(text, /^# .*`replicas`/m, file)
  }
})

test('KEDA takes no data for an error, not for no load', () => {
  const prometheus = scaledObjects.flatMap(([, { spec }]) => spec.triggers.filter(({ type }) => type === 'prometheus'))
  assert.equal(prometheus.length, 3)
  for (const { metadata, metricType } of prometheus) {
    assert.equal(metadata['ignoreNullValues'], 'false')
    assert.equal(metricType, 'AverageValue')
  }
  for (const [, { spec }] of scaledObjects) assertValid(spec.advanced.horizontalPodAutoscalerConfig.behavior)
})

test('KEDA and the HPA aim at the same: the total of KEDA is over the job, its threshold the target of one replica', () => {
  const thresholds = scaledObjects.flatMap(([, { spec }]) =>
    spec.triggers.flatMap(({ metadata }) => metadata['threshold'] ?? []),
  )
  assert.deepEqual(
    thresholds,
    Object.values(scalingMetrics).map(({ target }) => String(target)),
  )
  for (const query of Object.values(kedaQueries({ ...defaultOptions, job: 'shop' }))) {
    assert.match(query, /^sum\(sum by \(instance\).*job="shop"/)
  }
})

test('a quantity is the number in thousandths', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10_000_000 }), (thousandths) => {
      const text = quantity(thousandths / 1_000)
      const read = text.endsWith('m') ? Number(text.slice(0, -1)) : Number(text) * 1_000
      assert.equal(read, thousandths)
    }),
  )
})

const doc = readFileSync(new URL('../../docs/scaling.md', import.meta.url), 'utf8')

test('docs/scaling.md shows the very queries and targets of the files', () => {
  for (const metric of Object.values(scalingMetrics)) {
    const query = adapterQuery(metric).replaceAll('<<.LabelMatchers>>', 'job="plimsoll"')
    assert.ok(doc.includes(query.replaceAll('<<.GroupBy>>', 'pod')), query)
    assert.ok(doc.includes(`: \`${metric.name}\`, target \`${quantity(metric.target)}\`\n`), metric.name)
  }
  for (const query of Object.values(kedaQueries(defaultOptions))) assert.ok(doc.includes(query), query)
  assert.ok(doc.includes(`${cpuTargetPercent} %`))
  for (const file of Object.keys(files)) {
    assert.ok(doc.includes(file) || /^(hpa|keda)-/.test(file), file)
  }
})

test('every series that the adapter looks for is one that each replica has from its start', () => {
  for (const metric of Object.values(scalingMetrics)) {
    assert.ok(Object.hasOwn(serviceMetrics, metric.foundBy))
    assert.ok(adapterSeries(metric).startsWith(`${metric.foundBy}{`))
    assert.ok(adapterQuery(metric).includes(metric.foundBy))
  }
})
