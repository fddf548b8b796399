import assert from 'node:assert/strict'
import { test } from 'node:test'
import { describeUp, readableLine } from '../../../src/lab/fleet/up.ts'

const replicas = [1, 2].map((n) => ({
  name: `local-${n}`,
  url: `http://127.0.0.1:${8079 + n}`,
  adminUrl: `http://127.0.0.1:${9463 + n}`,
  state: 'ready' as const,
}))

test('what runs is described with its URLs and what to try, without the password', () => {
  const database = {
    url: 'postgresql://plimsoll:secret@127.0.0.1:5433/plimsoll',
    dataDir: '/home/ann/.plimsoll/postgres',
  }
  assert.equal(
    describeUp({ replicas, database, readyAfterMs: 2_345 }, '/home/ann'),
    `Plimsoll is up: 2 replicas, ready after 2.3 s

  local-1    http://127.0.0.1:8080   admin http://127.0.0.1:9464
  local-2    http://127.0.0.1:8081   admin http://127.0.0.1:9465
  database   postgresql://plimsoll@127.0.0.1:5433/plimsoll   data and password in .plimsoll/postgres

Try next:
  npm run -s plimsoll -- load http://127.0.0.1:8080/json http://127.0.0.1:8081/json --rate 200 --for 10s
  curl 'http://127.0.0.1:8080/work/gather?ms=2000,3000,1000'
  curl http://127.0.0.1:8080/items
  and in a browser http://127.0.0.1:8080/docs: every route, to read and to try

Ctrl-C stops everything.
`,
  )
})

for (const url of [
  'postgresql://u:secret@db/x?sslmode=require',
  'postgresql://db/x?user=u&password=secret',
  'secret',
]) {
  test(`no password is shown of a database given as ${url.replace('secret', '***')}`, () => {
    const text = describeUp({ replicas, database: { url }, readyAfterMs: 1 }, '/')
    assert.doesNotMatch(text, /secret/)
  })
}

test('of what replicas write, warnings and plain text are shown, routine log entries are not', () => {
  const shown: [string, string][] = [
    ['Error: boom', 'Error: boom'],
    ['{"level":40,"msg":"slow"}', 'warning: slow'],
    ['{"level":50,"msg":"database unreachable","err":{"message":"refused"}}', 'error: database unreachable: refused'],
    ['{"level":60,"msg":"refused","err":{"message":"refused"}}', 'fatal: refused'],
    ['{"msg":"no level"}', '{"msg":"no level"}'],
    ['{broken', '{broken'],
  ]
  for (const [line, text] of shown) assert.equal(readableLine(line), text)
  for (const line of ['{"level":30,"msg":"listening"}', '{"level":20}', '', '   ']) {
    assert.equal(readableLine(line), undefined)
  }
})
