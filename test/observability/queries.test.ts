import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  burnRate,
  errorRatio,
  eventLoopUtilisation,
  everySaturation,
  hpaWants,
  latencyQuantile,
  meanInFlight,
  nearestLimit,
  sloRatio,
  slowRatio,
  threadSaturation,
} from '../../src/observability/queries.ts'
import { fleetTotal, scalingMetrics } from '../../src/observability/scaling/targets.ts'
import { evaluate, needsPromtool } from '../support/promtool.ts'

const scope = 'job="j"'
const all = { scope, window: '5m' } as const
const each = { ...all, by: ['instance'] }
const skip = needsPromtool
const none = '{}'
const at = '10m'

/** A counter that grows by so much each second, in promtool's notation at one value each 15 s. */
const growing = (perSecond: number): string => `0+${perSecond * 15}x60`
const staying = (value: number): string => `${value}x60`

const labels = (more: Readonly<Record<string, string>>): string =>
  Object.entries({ job: 'j', ...more })
    .map(([name, value]) => `${name}="${value}"`)
    .join(',')

/** The histogram of requests of one instance and class: so many a second up to each bound. */
const requests = (instance: string, status: string, upTo: Readonly<Record<string, number>>): Record<string, string> => {
  const name = 'http_server_request_duration_seconds'
  const own = { instance, http_route: '/json', http_response_status_class: status }
  const buckets = Object.entries(upTo).map(([le, rate]) => [`${name}_bucket{${labels({ ...own, le })}}`, growing(rate)])
  return { ...Object.fromEntries(buckets), [`${name}_count{${labels(own)}}`]: growing(upTo['+Inf']!) }
}

test('a quantile of several replicas is that of all their requests, not the mean of their quantiles', { skip }, () => {
  const series = {
    ...requests('a', '2xx', { 0.1: 99, 0.25: 99, 1: 99, '+Inf': 99 }),
    ...requests('b', '2xx', { 0.1: 0, 0.25: 0, 1: 1, '+Inf': 1 }),
  }
  // Of 100 a second, 99 take no longer than 0.1 s. The mean of the two replicas' own quantiles is above 0.5 s.
  const expectations = [{ expr: latencyQuantile(0.99, all), at, values: { [none]: 0.1 } }]
  assert.equal(evaluate(series, expectations), undefined)
})

test('without a single error the share of errors is 0, and without a request there is none', { skip }, () => {
  const series = requests('a', '2xx', { 0.25: 10, '+Inf': 10 })
  assert.equal(
    evaluate(series, [
      { expr: errorRatio(all), at, values: { [none]: 0 } },
      { expr: errorRatio({ ...all, scope: 'job="other"' }), at, values: {} },
    ]),
    undefined,
  )
})

test('refusals count as errors, and their speed does not count as being in time', { skip }, () => {
  const series = {
    ...requests('a', '2xx', { 0.25: 30, '+Inf': 60 }),
    ...requests('a', '5xx', { 0.25: 20, '+Inf': 20 }),
  }
  assert.equal(
    evaluate(series, [
      { expr: errorRatio(all), at, values: { [none]: 0.25 } },
      { expr: sloRatio(all, 250), at, values: { [none]: 0.5 } },
      { expr: slowRatio(all, 250), at, values: { [none]: 0.5 } },
      { expr: burnRate(errorRatio(all), 0.75), at, values: { [none]: 1 } },
    ]),
    undefined,
  )
})

test(
  'a scanner that tries paths does not water down errors, an upload that takes its time is not slow',
  { skip },
  () => {
    const name = 'http_server_request_duration_seconds'
    const of = (route: string, status: string) => labels({ http_route: route, http_response_status_class: status })
    const series = {
      ...requests('a', '2xx', { 0.25: 9, '+Inf': 9 }),
      ...requests('a', '5xx', { 0.25: 1, '+Inf': 1 }),
      [`${name}_count{${of('unmatched', '4xx')}}`]: growing(90),
      [`${name}_bucket{${of('/uploads/:id', '2xx')},le="0.25"}`]: growing(0),
      [`${name}_count{${of('/uploads/:id', '2xx')}}`]: growing(0),
    }
    assert.equal(
      evaluate({ ...series, [`${name}_count{${of('/uploads', '2xx')}}`]: growing(10) }, [
        { expr: errorRatio(all), at, values: { [none]: 0.05 } },
        { expr: sloRatio(all, 250), at, values: { [none]: 1 } },
      ]),
      undefined,
    )
  },
)

test('an SLO of whole seconds finds its bucket in the spelling of Prometheus 2 and of Prometheus 3', { skip }, () => {
  for (const le of ['1', '1.0']) {
    const series = requests('a', '2xx', { [le]: 9, '10': 10, '+Inf': 10 })
    assert.equal(evaluate(series, [{ expr: sloRatio(all, 1_000), at, values: { [none]: 0.9 } }]), undefined, le)
  }
})

test('an SLO that the service has no bucket for gives no figure rather than a wrong one', { skip }, () => {
  const series = requests('a', '2xx', { 0.25: 9, '+Inf': 10 })
  assert.equal(evaluate(series, [{ expr: sloRatio(all, 300), at, values: {} }]), undefined)
})

test('the mean in flight is that of the integral, also where it was high between two scrapes only', { skip }, () => {
  // 40 requests of 3 s each in every 15 s: 8 on average, and at no scrape a single one is to be seen.
  const series = { [`plimsoll_requests_seconds_total{${labels({ instance: 'a' })}}`]: '0+120x60' }
  assert.equal(evaluate(series, [{ expr: meanInFlight(all), at, values: { [none]: 8 } }]), undefined)
})

const loop = (instance: string, worker: string, active: number): Record<string, string> => {
  const name = 'nodejs_eventloop_time_seconds_total'
  const of = (state: string) => `${name}{${labels({ instance, worker, nodejs_eventloop_state: state })}}`
  return { [of('active')]: growing(active), [of('idle')]: growing(1 - active) }
}

test(
  'the utilisation of a replica is the mean over its workers, what is nearest to a limit the busiest',
  { skip },
  () => {
    const series = {
      ...loop('a', '1', 0.9),
      ...loop('a', '2', 0.3),
      ...loop('b', '1', 0.2),
      [`plimsoll_threads{${labels({ instance: 'a' })}}`]: staying(4),
      [`plimsoll_threads_busy_seconds_total{${labels({ instance: 'a' })}}`]: growing(2),
    }
    assert.equal(
      evaluate(series, [
        { expr: eventLoopUtilisation(each), at, values: { '{instance="a"}': 0.6, '{instance="b"}': 0.2 } },
        { expr: threadSaturation(each), at, values: { '{instance="a"}': 0.5 } },
        { expr: nearestLimit(each), at, values: { '{instance="a"}': 0.9, '{instance="b"}': 0.2 } },
        {
          expr: everySaturation(each),
          at,
          values: {
            '{instance="a",resource="event loop"}': 0.9,
            '{instance="b",resource="event loop"}': 0.2,
            '{instance="a",resource="threads"}': 0.5,
          },
        },
        { expr: fleetTotal(scalingMetrics.eventLoop, scope), at, values: { [none]: 0.8 } },
      ]),
      undefined,
    )
  },
)

test('a replica with a limit on CPU or memory is measured against it, one without is left out', { skip }, () => {
  const of = (name: string, instance: string) => `${name}{${labels({ instance })}}`
  const series = {
    [of('plimsoll_cgroup_cpu_seconds_total', 'a')]: growing(1.5),
    [of('plimsoll_cgroup_cpu_limit_cores', 'a')]: staying(2),
    [of('plimsoll_cgroup_cpu_seconds_total', 'b')]: growing(1.5),
    [of('plimsoll_cgroup_memory_bytes', 'b')]: staying(100),
    [of('plimsoll_cgroup_memory_limit_bytes', 'b')]: staying(400),
  }
  assert.equal(
    evaluate(series, [
      {
        expr: everySaturation(each),
        at,
        values: { '{instance="a",resource="cpu"}': 0.75, '{instance="b",resource="memory"}': 0.25 },
      },
    ]),
    undefined,
  )
})

test('what each metric of an HPA asks for is current x value / target, rounded up', { skip }, () => {
  const hpa = 'namespace="n",horizontalpodautoscaler="h"'
  const metric = (name: string, type: string) => `{${hpa},metric_name="${name}",metric_target_type="${type}"}`
  const name = 'kube_horizontalpodautoscaler'
  const series = {
    [`${name}_status_current_replicas{${hpa}}`]: staying(4),
    // Of CPU the API tells the percentage and the cores; only the first has a target.
    [`${name}_status_target_metric${metric('cpu', 'utilization')}`]: staying(80),
    [`${name}_status_target_metric${metric('cpu', 'average')}`]: staying(0.4),
    [`${name}_spec_target_metric${metric('cpu', 'utilization')}`]: staying(65),
    [`${name}_status_target_metric${metric('plimsoll_in_flight', 'average')}`]: staying(30),
    [`${name}_spec_target_metric${metric('plimsoll_in_flight', 'average')}`]: staying(40),
  }
  // 4 x 80 / 65 = 4.92 and 4 x 30 / 40 = 3.
  const values = { [metric('cpu', 'utilization')]: 5, [metric('plimsoll_in_flight', 'average')]: 3 }
  assert.equal(evaluate(series, [{ expr: hpaWants('namespace="n"'), at, values }]), undefined)
})

test('promtool sees a wrong expectation', { skip }, () => {
  assert.match(evaluate({ x: staying(1) }, [{ expr: 'sum(x)', at, values: { [none]: 2 } }])!, /FAILED/)
})
