import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { after, test } from 'node:test'
import { findFreePort, isFree } from '../../../src/lab/fleet/ports.ts'

const host = '127.0.0.1'

const occupy = async (port: number, address = host): Promise<Server> => {
  const server = createServer().listen(port, address)
  await once(server, 'listening')
  after(() => server.close())
  return server
}

/** A port that is in use, followed by at least one that is not. */
const occupyBelowFree = async (): Promise<number> => {
  for (;;) {
    const { port } = (await occupy(0)).address() as AddressInfo
    if (port < 65_535 && (await isFree(port + 1, host))) return port
  }
}

test('a port in use is stepped over, with a note that names both', async () => {
  const taken = await occupyBelowFree()
  const notes: string[] = []
  const found = await findFreePort({
    purpose: 'PostgreSQL',
    first: taken,
    host,
    reserved: new Set(),
    note: (text) => notes.push(text),
  })
  assert.equal(found, taken + 1)
  assert.deepEqual(notes, [`port ${taken} is in use: PostgreSQL is on ${taken + 1}`])
})

test('a reserved port is not given again, and stepping over it is worth no note', async () => {
  const first = (await occupyBelowFree()) + 1
  const reserved = new Set([first])
  const notes: string[] = []
  const search = { purpose: 'x', first, host, reserved, note: (text: string) => notes.push(text) }
  const found = await findFreePort(search)
  assert.ok(found > first)
  assert.ok(reserved.has(found))
  if (found === first + 1) assert.deepEqual(notes, [])
})

test('two searches at once find two ports', async () => {
  const search = { purpose: 'x', first: 21_000, host, reserved: new Set<number>(), note: () => {} }
  const found = await Promise.all([findFreePort(search), findFreePort(search)])
  assert.equal(new Set(found).size, 2)
})

test('a port that somebody listens on for all addresses is not free on one of them', async () => {
  const { port } = (await occupy(0, '0.0.0.0')).address() as AddressInfo
  assert.equal(await isFree(port, host), process.platform !== 'linux')
})

test('a search that ends at the last port fails by name', async () => {
  await occupy(65_535).catch(() => undefined)
  await assert.rejects(findFreePort({ purpose: 'x', first: 65_535, host, reserved: new Set(), note: () => {} }), {
    code: 'no_free_port',
  })
})
