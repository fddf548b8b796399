import type { Sample } from '../../kit/metrics.ts'
import type { Admission } from '../admission/admission.ts'
import type { AdmissionMeter } from '../admission/meter.ts'
import type { RateLimit } from '../admission/rate-limit.ts'
import type { CacheStats } from '../cache/cache.ts'
import type { Database } from '../db/database.ts'
import type { Upstreams, UpstreamStats } from '../upstreams/upstreams.ts'
import type { Threads } from '../work/threads/pool.ts'
import { type Collected, type Collector, each, single } from './collect.ts'
import type { StatementTelemetry } from './statements.ts'

// What each part of the service has counted, as the metrics of `contract/metrics.ts`. Lines that can be named beforehand
// are there with 0 from the start: `rate()` does not see the first increment of one that comes to be with it.

export const admissionMetrics =
  (admission: Pick<Admission, 'stats'>, meter: AdmissionMeter): Collector =>
  (nowMs) => {
    const { limit, inFlight, queued, accepted, refused, withdrawn } = admission.stats()
    return {
      plimsoll_admission_limit: single(limit),
      plimsoll_admission_in_flight: single(inFlight),
      plimsoll_admission_in_flight_seconds_total: single(meter.inFlight.seconds(nowMs)),
      plimsoll_admission_queued: single(queued),
      plimsoll_admission_queued_seconds_total: single(meter.queued.seconds(nowMs)),
      plimsoll_admission_queue_seconds: meter.waits.samples('plimsoll_admission_queue_seconds', {}),
      plimsoll_admission_accepted_total: single(accepted),
      plimsoll_admission_refused_total: each('reason', refused),
      plimsoll_admission_withdrawn_total: single(withdrawn),
    }
  }

export const rateLimitMetrics =
  (rateLimit: Pick<RateLimit, 'stats'>): Collector =>
  () => {
    const { clients, ...decisions } = rateLimit.stats()
    return {
      plimsoll_rate_limit_requests_total: each('decision', decisions),
      plimsoll_rate_limit_clients: single(clients),
    }
  }

export const databaseMetrics =
  (database: Pick<Database, 'stats' | 'reachable'>, told: StatementTelemetry): Collector =>
  (nowMs) => {
    const { size, idle, poolSize, timeouts, pipelined } = database.stats
    return {
      db_client_operation_duration_seconds: told.durations(),
      plimsoll_db_connections: each('state', { idle, used: size - idle }),
      plimsoll_db_connections_max: single(poolSize),
      plimsoll_db_connections_pending: single(told.pending.value),
      plimsoll_db_connection_wait_seconds: told.waits.samples('plimsoll_db_connection_wait_seconds', {}),
      plimsoll_db_connection_timeouts_total: single(timeouts),
      plimsoll_db_connections_used_seconds_total: single(told.used.seconds(nowMs)),
      plimsoll_db_connections_pending_seconds_total: single(told.pending.seconds(nowMs)),
      plimsoll_db_pipelined: single(pipelined),
      plimsoll_db_reachable: single(database.reachable ? 1 : 0),
    }
  }

export const threadMetrics =
  (threads: Pick<Threads, 'stats' | 'busy' | 'queued' | 'waits'>): Collector =>
  (nowMs) => {
    const { size, busy, queued, completed } = threads.stats()
    return {
      plimsoll_threads: single(size),
      plimsoll_threads_busy: single(busy),
      plimsoll_threads_busy_seconds_total: single(threads.busy.seconds(nowMs)),
      plimsoll_threads_queued: single(queued),
      plimsoll_threads_queued_seconds_total: single(threads.queued.seconds(nowMs)),
      plimsoll_threads_queue_seconds: threads.waits.samples('plimsoll_threads_queue_seconds', {}),
      plimsoll_threads_tasks_total: single(completed),
    }
  }

export const cacheMetrics =
  (cache: { readonly stats: Readonly<Record<string, CacheStats>> }): Collector =>
  () => {
    const caches = Object.entries(cache.stats)
    const perCache = (label: string, countsOf: (stats: CacheStats) => Readonly<Record<string, number>>): Sample[] =>
      caches.flatMap(([name, stats]) => labelled('cache', name, each(label, countsOf(stats))))
    return {
      plimsoll_cache_lookups_total: perCache('result', ({ hits, stale, misses }) => ({
        hit: hits,
        stale,
        miss: misses,
      })),
      plimsoll_cache_loads_total: perCache('outcome', ({ loaded, errors }) => ({ ok: loaded, error: errors })),
      plimsoll_cache_entries: caches.map(([name, { entries }]) => ({ labels: { cache: name }, value: entries })),
    }
  }

export const upstreamMetrics =
  (upstreams: Pick<Upstreams, 'stats'>): Collector =>
  (): Collected => {
    const all = upstreams.stats()
    const perUpstream = (samplesOf: (stats: UpstreamStats) => readonly Sample[]): Sample[] =>
      all.flatMap((stats) => labelled('upstream', stats.name, samplesOf(stats)))
    return {
      plimsoll_upstream_calls_total: perUpstream(({ meter }) => each('status', meter.calls)),
      plimsoll_upstream_attempts_total: perUpstream((stats) => each('kind', attemptKinds(stats))),
      plimsoll_upstream_breaker_open: perUpstream(({ breaker }) => single(breaker === 'closed' ? 0 : 1)),
      http_client_request_duration_seconds: perUpstream(attemptDurations),
    }
  }

const attemptKinds = ({ attempts, retries, hedges }: UpstreamStats): Readonly<Record<string, number>> => ({
  first: attempts - retries - hedges,
  retry: retries,
  hedge: hedges,
})

const attemptDurations = ({ meter }: UpstreamStats): readonly Sample[] =>
  Array.from(meter.durations, ([errorType, durations]) =>
    durations.samples('http_client_request_duration_seconds', { error_type: errorType }),
  ).flat()

const labelled = (label: string, value: string, samples: readonly Sample[]): Sample[] =>
  samples.map((sample) => ({ ...sample, labels: { [label]: value, ...sample.labels } }))
