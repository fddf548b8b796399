import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LatencySummary, Verdict } from '../../../src/contract/run-result.ts'
import { judge, type Evidence } from '../../../src/lab/load/verdict.ts'

const summary = (p99: number): LatencySummary => ({ mean: 1, p50: 1, p90: 1, p95: 1, p99, p999: p99, max: p99 })

const clean: Evidence = {
  requestedDurationMs: 10_000,
  durationMs: 10_000,
  interrupted: false,
  requests: 2_000,
  sentInTime: 2_000,
  backlog: 1,
  missed: 0,
  answered: 2_000,
  errors: 0,
  errorCodes: [],
  latency: summary(20),
  sendLag: summary(0.2),
  stalledMs: 0,
  longestStallMs: 0,
}

const gives = (status: Verdict['status'], reason: RegExp, changes: Partial<Evidence>): void => {
  const verdict = judge({ ...clean, ...changes })
  assert.equal(verdict.status, status, JSON.stringify(changes))
  assert.equal(verdict.reasons.length, 1, verdict.reasons.join('\n'))
  assert.match(verdict.reasons[0]!, reason)
}

test('a clean run is valid and has no reasons', () => {
  assert.deepEqual(judge(clean), { status: 'valid', reasons: [] })
})

test('a slow service is no fault of the run', () => {
  assert.equal(judge({ ...clean, latency: summary(9_000) }).status, 'valid')
})

test('a run without answers is invalid and names the causes', () => {
  const nothing = { answered: 0, errors: 2_000, latency: null, errorCodes: ['ECONNREFUSED', 'ECONNRESET'] }
  gives('invalid', /^none of 2,000 requests was answered: ECONNREFUSED, ECONNRESET$/, {
    ...nothing,
    sendLag: summary(50),
  })
  gives('invalid', /^no request was measured$/, {
    answered: 0,
    requests: 0,
    sentInTime: 0,
    backlog: 0,
    latency: null,
    sendLag: null,
  })
})

test('missed arrivals degrade a run, and spoil it when they reach the 99th percentile', () => {
  gives('degraded', /^5 arrivals \(0\.25 %\) were not sent/, { missed: 5 })
  gives('invalid', /^100 arrivals/, { missed: 100 })
})

test('send lag is judged by its share of the tail of latency', () => {
  assert.equal(judge({ ...clean, sendLag: summary(4.9), latency: summary(5) }).status, 'valid', 'too small to matter')
  assert.equal(judge({ ...clean, sendLag: summary(30), latency: summary(400) }).status, 'valid')
  gives('degraded', /send lag is 30\.0 ms, 30 % of that of latency$/, { sendLag: summary(30), latency: summary(100) })
  gives('invalid', /send lag is 30\.0 ms/, { sendLag: summary(30), latency: summary(40) })
})

test('a generator that stood still is named, and its run is invalid above a twentieth of the time', () => {
  gives('degraded', /stood still for 300 ms, up to 200 ms at once$/, { stalledMs: 300, longestStallMs: 200 })
  gives('invalid', /stood still for 600 ms/, { stalledMs: 600, longestStallMs: 600 })
})

test('requests that were sent only after the end show a generator that fell behind', () => {
  assert.equal(judge({ ...clean, requests: 10, sentInTime: 9 }).status, 'valid', 'one late request is no finding')
  gives('degraded', /sent 60 of 2,000 requests after the end$/, { sentInTime: 1_940 })
  gives('invalid', /sent 200 of 2,000 requests after the end$/, { sentInTime: 1_800 })
})

test('a backlog at the end means that latency depends on the length of the run', () => {
  gives('degraded', /^400 requests \(20 %\) were unanswered when arrivals ended/, { backlog: 400 })
})

test('many errors degrade a run', () => {
  assert.equal(judge({ ...clean, errors: 20 }).status, 'valid')
  gives('degraded', /^10 % of the requests failed/, { errors: 200 })
})

test('an interrupted run says how far it came', () => {
  gives('degraded', /^interrupted after 3\.2 s of 10 s$/, { interrupted: true, durationMs: 3_200 })
})

test('the worst finding decides, and comes first', () => {
  const verdict = judge({ ...clean, backlog: 400, interrupted: true, missed: 500 })
  assert.equal(verdict.status, 'invalid')
  assert.equal(verdict.reasons.length, 3)
  assert.match(verdict.reasons[0]!, /^500 arrivals/)
})
