/** Checks that the servers do the same work before their speed is compared. Anything amiss throws. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { z } from 'zod'
import { withClient } from '../support/client.ts'
import type { Row } from './rows.ts'
import type { Spawned } from './servers.ts'

const worldNumber = z.int().min(1).max(10_000)
const world = z.strictObject({ id: worldNumber, randomNumber: worldNumber })
const timestamp = z.iso.datetime({ offset: true })
const item = z.strictObject({
  id: z.uuid(),
  name: z.string(),
  note: z.string(),
  quantity: z.int(),
  version: z.literal(1),
  createdAt: timestamp,
  updatedAt: timestamp,
})
const itemList = z.looseObject({ items: z.array(item).length(100) })

const answers: Readonly<Record<string, z.ZodType>> = {
  '/json': z.strictObject({ message: z.literal('Hello, World!') }),
  '/db': world,
  '/queries?queries=20': z.array(world).length(20),
  '/updates?queries=20': z.array(world).length(20),
  '/items?limit=100': itemList,
  '/work/wait?ms=100': z.unknown(),
}

const answerOf = async ({ name, origin }: Spawned, path: string): Promise<unknown> => {
  const response = await fetch(`${origin}${path}`)
  const text = await response.text()
  assert.equal(response.status, 200, `${name} answers ${path} with ${response.status}: ${text}`)
  const { error, data } = answers[path]!.safeParse(JSON.parse(text))
  assert.ok(
    error === undefined,
    `${name} answers ${path} with ${text.slice(0, 500)}\n${error && z.prettifyError(error)}`,
  )
  return data
}

/** An answer as it comes over the wire; all that may differ from one to the next is the time in `Date`. */
const bytesOf = async ({ port }: Spawned, path: string): Promise<string> => {
  const socket = connect(port, '127.0.0.1')
  socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`)
  let bytes = ''
  while (!bytes.endsWith('}')) bytes += String((await once(socket, 'data'))[0])
  socket.destroy()
  return bytes.replace(/^Date: .*$/m, 'Date: now')
}

const sameBytes = async (path: string, ours: Spawned, bare: Spawned): Promise<void> => {
  assert.equal(await bytesOf(ours, path), await bytesOf(bare, path), `${path} differs between Plimsoll and node:http`)
}

/** The hundred items as all servers must list them; instants are compared to the millisecond that Date keeps. */
const comparableItems = (answer: unknown) =>
  itemList.parse(answer).items.map(({ createdAt, updatedAt, ...others }) => ({
    others,
    createdAt: Date.parse(createdAt),
    updatedAt: Date.parse(updatedAt),
  }))

const sameItems = (answersByServer: readonly unknown[]): void => {
  const [first, ...others] = answersByServer.map(comparableItems)
  for (const other of others) assert.deepEqual(other, first, 'the servers list different items')
}

/** An update that answers must also have written: one of its numbers, where it drew an id twice. */
const wasWritten = async (answer: unknown, databaseUrl: string): Promise<void> => {
  const written = z.array(world).parse(answer)
  const found = await withClient(databaseUrl, (client) =>
    client.query<{ id: number; randomnumber: number }>('SELECT id, randomnumber FROM world WHERE id = ANY ($1)', [
      written.map(({ id }) => id),
    ]),
  )
  for (const { id, randomnumber } of found.rows) {
    const answered = written.filter((each) => each.id === id).map(({ randomNumber }) => randomNumber)
    assert.ok(answered.includes(randomnumber), `world ${id} holds ${randomnumber}, not ${answered.join(' or ')}`)
  }
}

/** Checks every server of a row against the row's answer, and the answers against each other where they must agree. */
export const verifyRow = async ({ path }: Row, servers: readonly Spawned[], databaseUrl: string): Promise<void> => {
  const given: unknown[] = []
  for (const server of servers) {
    const answer = await answerOf(server, path)
    if (path.startsWith('/updates')) await wasWritten(answer, databaseUrl)
    given.push(answer)
  }
  if (path.startsWith('/items')) sameItems(given)
  const named = (name: string) => servers.find((server) => server.name === name)
  const [ours, bare] = [named('ours'), named('bare')]
  if (path === '/json' && ours && bare) await sameBytes(path, ours, bare)
}
