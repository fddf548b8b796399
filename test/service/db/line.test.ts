import assert from 'node:assert/strict'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import type { ClientBase } from 'pg'
import { Failure } from '../../../src/kit/errors.ts'
import { Line } from '../../../src/service/db/line.ts'
import { statement } from '../../../src/service/db/statement.ts'
import { until } from '../../support/until.ts'

/** What pg's client calls on a query that it was given. */
type Query = {
  submit(wire: object): unknown
  handleDataRow(message: { fields: string[] }): void
  handleReadyForQuery(): void
  handleError(error: unknown): void
}

type Fake = { readonly line: Line; readonly sent: Query[]; readonly asked: Socket[] }

/** A line whose server is played by the test; it hears of cancels in `asked`, and keeps who asked waiting. */
const fake = async (t: TestContext): Promise<Fake> => {
  const asked: Socket[] = []
  const server = await listen(createServer((socket) => void asked.push(socket)))
  t.after(() => {
    for (const socket of asked) socket.destroy()
    server.close()
  })
  const sent: Query[] = []
  const connection = {
    stream: { writable: true, write: () => true },
    parsedStatements: {},
    submittedNamedStatements: {},
  }
  const query = (it: Query): void => {
    it.submit(connection)
    sent.push(it)
  }
  const { port } = server.address() as AddressInfo
  const backend = { host: '127.0.0.1', port, ssl: false, sslNegotiation: 'postgres', processID: 1, secretKey: 2 }
  const client = { ...backend, connection, query, getTransactionStatus: () => 'I' }
  return { line: new Line(client as unknown as ClientBase, 'at-once'), sent, asked }
}

const listen = (server: Server): Promise<Server> =>
  new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)))

const read = statement<string, [id: number]>('read', 'select $1', ([value]) => value!)
const cancelled = Object.assign(new Error('canceling statement'), { code: '57014', severity: 'ERROR' })
const gone = new Error('the client went away')

/** One statement that nobody wants any more, for which a cancel is on its way, and one behind it. */
const withCancelOnItsWay = async ({ line, sent, asked }: Fake): Promise<Promise<string[]>> => {
  const client = new AbortController()
  const abandoned = line.run(read, [1], client.signal)
  const behind = line.run(read, [2])
  client.abort(gone)
  await assert.rejects(abandoned, gone)
  await until('a cancel is asked for', () => asked.length === 1)
  sent[0]!.handleReadyForQuery()
  return behind
}

test('a statement that a late cancel hits is sent again, and has each of its rows once', async (t) => {
  const it = await fake(t)
  const behind = withCancelOnItsWay(it)
  await until('the server is at the one behind', () => it.line.answered === 1)
  it.sent[1]!.handleDataRow({ fields: ['a'] })
  it.sent[1]!.handleError(cancelled)
  assert.equal(it.sent.length, 3)
  for (const value of ['a', 'b']) it.sent[2]!.handleDataRow({ fields: [value] })
  it.sent[2]!.handleReadyForQuery()
  assert.deepEqual(await behind, ['a', 'b'])
  assert.equal(it.line.inFlight, 0)
})

test('a statement that is hit again and again is given up', async (t) => {
  const it = await fake(t)
  const behind = assert.rejects(withCancelOnItsWay(it), (error) => {
    return error instanceof Failure && error.code === 'deadline-exceeded'
  })
  await until('the server is at the one behind', () => it.line.answered === 1)
  for (let turn = 1; it.line.inFlight > 0; turn++) it.sent[turn]!.handleError(cancelled)
  await behind
  assert.equal(it.sent.length, 1 + 1 + 5)
})

test('without a cancel of ours a statement that the server ended has failed', async (t) => {
  const it = await fake(t)
  const slow = it.line.run(read, [1])
  it.sent[0]!.handleError(cancelled)
  await assert.rejects(slow, (error) => error instanceof Failure && error.code === 'deadline-exceeded')
  assert.equal(it.sent.length, 1)
})
