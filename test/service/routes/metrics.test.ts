import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { Buckets, type Metric } from '../../../src/kit/metrics.ts'
import { assemble } from '../../../src/service/app.ts'
import { formatFor, metricsRoute } from '../../../src/service/routes/metrics.ts'
import { listen, type RawAnswer, request } from '../../support/http.ts'

const metrics = (): readonly Metric[] => {
  const buckets = new Buckets([1])
  buckets.observe(0.5)
  buckets.exemplify(0.5, { trace_id: 'abc' }, 12)
  return [{ name: 'h', type: 'histogram', help: 'One.', values: buckets.samples('h', {}) }]
}

const ask = async (t: TestContext, accept?: string, method = 'GET'): Promise<RawAnswer> => {
  const app = assemble({}, [(api) => metricsRoute(api, metrics)], undefined)
  const server = await listen(app.callback())
  t.after(() => server[Symbol.asyncDispose]())
  return request(server.port, '/metrics', { method, headers: accept === undefined ? {} : { Accept: accept } })
}

const open = 'application/openmetrics-text'

test('plain text for everybody, OpenMetrics for who names it and does not prefer plain text', () => {
  const accepts: readonly (readonly [string | undefined, 'openMetrics' | 'prometheus'])[] = [
    [undefined, 'prometheus'],
    ['', 'prometheus'],
    ['*/*', 'prometheus'],
    ['text/html,application/xhtml+xml,*/*;q=0.8', 'prometheus'],
    ['application/json', 'prometheus'],
    ['text/plain', 'prometheus'],
    [open, 'openMetrics'],
    [`${open}; version=1.0.0; charset=utf-8`, 'openMetrics'],
    [`${open},text/plain`, 'openMetrics'],
    [`text/plain, ${open}`, 'openMetrics'],
    [`${open};q=0.5, text/plain`, 'prometheus'],
    [`${open};q=0.5,*/*`, 'prometheus'],
    [`${open};q=0, */*;q=0`, 'prometheus'],
    [`${open};q=0`, 'prometheus'],
    [`${open};q=high`, 'prometheus'],
    [`${open.toUpperCase()};Q=0.9, text/plain;q=0.8`, 'openMetrics'],
    ['application/*', 'openMetrics'],
    ['application/*;q=0.5, text/*', 'prometheus'],
  ]
  for (const [accept, format] of accepts) assert.equal(formatFor(accept), format, String(accept))
})

test('Prometheus 2 and 3 are given OpenMetrics by what they ask for', () => {
  const two = `${open};version=1.0.0,${open};version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1`
  const three =
    `${open};version=1.0.0;escaping=allow-utf-8;q=0.6,${open};version=0.0.1;q=0.5,` +
    'text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2'
  const plain =
    'text/plain;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,application/openmetrics-text;q=0.4,*/*;q=0.2'
  assert.deepEqual([two, three, plain].map(formatFor), ['openMetrics', 'openMetrics', 'prometheus'])
})

test('an answer names its format, is kept by no cache, and says that it depends on Accept', async (t) => {
  for (const [accept, type] of [
    ['*/*', 'text/plain; version=0.0.4; charset=utf-8'],
    [open, 'application/openmetrics-text; version=1.0.0; charset=utf-8'],
  ] as const) {
    const answer = await ask(t, accept)
    assert.deepEqual(
      [answer.status, answer.header('content-type'), answer.header('cache-control'), answer.header('vary')],
      [200, type, 'no-store', 'Accept'],
    )
    assert.equal(answer.body.toString().includes('trace_id="abc"'), accept === open)
  }
})

const headersOf = ({ headers }: RawAnswer) => headers.filter(([name]) => name !== 'Date')

test('HEAD has the headers of GET and no body', async (t) => {
  const [get, head] = [await ask(t, open), await ask(t, open, 'HEAD')]
  assert.deepEqual(headersOf(head), headersOf(get))
  assert.equal(head.header('content-length'), String(get.body.length))
  assert.equal(head.body.length, 0)
})
