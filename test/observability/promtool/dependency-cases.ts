import { type AlertCase, pair } from './cases.ts'
import { level, of, rising, secondReplica } from './series.ts'

const job = 'plimsoll'
const instance = '10.0.0.1:9464'

const spans = (outcome: string, perSecond: number) => of('plimsoll_spans_total', { outcome }, rising(perSecond))

export const dependencyCases: readonly AlertCase[] = [
  ...pair<string>('PlimsollDatabaseUnreachable', {
    series: (reachable) => ({
      ...of('plimsoll_db_reachable', {}, reachable),
      ...of('plimsoll_db_reachable', secondReplica, reachable),
    }),
    atMinutes: 13,
    fires: {
      with: '1x9 0x80',
      because: 'when it has not answered for 3 minutes',
      labels: { job },
      summary: 'plimsoll does not reach its database',
      description: 'The database does not answer 2 replicas (limit 0). Routes that need it answer 503.',
    },
    silent: [
      { with: level(1), because: 'while it answers' },
      { with: '1x9 0x80', because: 'in the first 2 minutes', atMinutes: 11 },
      { with: '1x9 0x1 1x80', because: 'when it was away for a minute' },
    ],
  }),
  {
    alert: 'PlimsollDatabaseUnreachable',
    law: 'fires on for 5 minutes when it answers again',
    series: of('plimsoll_db_reachable', {}, '1x9 0x9 1x80'),
    atMinutes: 22,
    fires: [{ labels: { job } }],
  },

  ...pair<number>('PlimsollPoolExhausted', {
    series: (used) => ({
      ...of('plimsoll_db_connections_used_seconds_total', {}, rising(used)),
      ...of('plimsoll_db_connections_max', {}, level(8)),
    }),
    atMinutes: 17,
    fires: {
      with: 7.6,
      because: 'when 7.6 of 8 connections are in use',
      labels: { job, instance, resource: 'connection pool' },
      summary: 'The connection pool of 10.0.0.1:9464 is used up',
      description: '95% of the connections of the pool were in use on average in the last 5m (limit 90 %).',
    },
    silent: [
      { with: 7, because: 'when 7 of 8 are' },
      { with: 8, because: 'in the first 10 minutes', atMinutes: 9 },
    ],
  }),

  ...pair<number>('PlimsollPoolWaits', {
    series: (pending) => of('plimsoll_db_connections_pending_seconds_total', {}, rising(pending)),
    atMinutes: 17,
    fires: {
      with: 1.2,
      because: 'when 1.2 requests wait on average',
      labels: { job, instance },
      summary: 'Requests wait for database connections at 10.0.0.1:9464',
      description: '1.2 requests waited for a connection of the pool on average in the last 5m (limit 1).',
    },
    silent: [
      { with: 0.9, because: 'when 0.9 do' },
      { with: 100, because: 'in the first 10 minutes', atMinutes: 9 },
    ],
  }),

  ...pair<string>('PlimsollUpstreamCircuitOpen', {
    series: (open) => ({
      ...of('plimsoll_upstream_breaker_open', { upstream: 'weather' }, open),
      ...of('plimsoll_upstream_breaker_open', { upstream: 'news' }, level(0)),
    }),
    atMinutes: 12,
    fires: {
      with: level(1),
      because: 'for the upstream whose circuit is open for 5 minutes',
      labels: { job, upstream: 'weather' },
      summary: 'Upstream weather of plimsoll fails and is left alone',
      description: 'The circuit of upstream weather was not closed for most of the last 5m at 1 replicas (limit 0).',
    },
    silent: [
      { with: level(0), because: 'while it is closed' },
      { with: '1 0 1 0 0 '.repeat(18).trim(), because: 'when it opens now and then' },
      { with: level(1), because: 'in the first 5 minutes', atMinutes: 4 },
    ],
  }),

  ...pair<number>('PlimsollLosingSpans', {
    series: (lost) => ({
      ...spans('exported', 100 - lost),
      ...spans('failed', lost / 2),
      ...spans('dropped', lost / 2),
    }),
    atMinutes: 20,
    fires: {
      with: 1.2,
      because: 'when 1.2 % are lost for 15 minutes',
      labels: { job },
      summary: 'Traces of plimsoll have holes',
      description: '1.2% of spans were dropped or not taken by the collector in the last 10m (limit 1 %).',
    },
    silent: [
      { with: 0.9, because: 'at 0.9 %' },
      { with: 100, because: 'in the first 15 minutes', atMinutes: 14 },
    ],
  }),
]
