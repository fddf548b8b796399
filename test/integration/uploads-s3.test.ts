import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { after, before, test } from 'node:test'
import type { Upload } from '../../src/service/uploads/upload.ts'
import { S3Bucket } from '../../src/service/uploads/s3.ts'
import { storageLaws } from '../service/uploads/storage-laws.ts'
import { dial, request, requestBytes } from '../support/http.ts'
import { startS3, type TestS3, withoutS3 } from '../support/s3.ts'
import { startTestService, type TestService } from '../support/service.ts'
import { until } from '../support/until.ts'

const skip = await withoutS3()
let s3: TestS3
let service: TestService

before(async () => {
  if (skip !== false) return
  s3 = await startS3()
  service = await startTestService(s3.env)
})
after(async () => {
  if (skip !== false) return
  await service[Symbol.asyncDispose]()
  await s3[Symbol.asyncDispose]()
})

let opened = 0

storageLaws('a bucket', {
  skip,
  open: async (t) => {
    const folder = `laws/${(opened += 1)}`
    const url = `s3://${s3.bucket}/${folder}`
    const storage = new S3Bucket({ url, region: 'us-east-1', endpoint: s3.endpoint })
    t.after(() => storage.close())
    const names = async (): Promise<string[]> => {
      const { objects, unfinished } = await s3.keys()
      return [...objects, ...unfinished].filter((key) => key.startsWith(`${folder}/`))
    }
    return { storage, names }
  },
})

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

/** All that the service has in the bucket, and what it has begun. */
const kept = async (): Promise<string[]> => {
  const { objects, unfinished } = await s3.keys()
  return [...objects, ...unfinished].filter((key) => key.startsWith('some/folder/'))
}

test(
  'content of several parts comes back byte for byte, and a range of it; deleted, nothing is left',
  { skip },
  async () => {
    const content = randomBytes(11_000_000)
    const answer = await fetch(`${service.url}/uploads`, { method: 'POST', body: content })
    assert.equal(answer.status, 201)
    const upload = (await answer.json()) as Upload
    assert.deepEqual([upload.size, upload.sha256], [content.length, sha256(content)])
    const { body } = await request(service.port, `/uploads/${upload.id}`)
    assert.ok(body.equals(content))
    const part = await request(service.port, `/uploads/${upload.id}`, { headers: { Range: 'bytes=5000000-6000000' } })
    assert.equal(part.status, 206)
    assert.ok(part.body.equals(content.subarray(5_000_000, 6_000_001)))
    assert.equal((await request(service.port, `/uploads/${upload.id}`, { method: 'DELETE' })).status, 204)
    assert.deepEqual(await kept(), [])
  },
)

test('neither the name nor anything else of the client is in a key', { skip }, async () => {
  const headers = { 'Content-Disposition': 'attachment; filename="../../secret/name"' }
  const answer = await request(service.port, '/uploads', { method: 'POST', headers, body: 'x' })
  const { id } = JSON.parse(answer.body.toString()) as Upload
  for (const key of await kept()) assert.match(key, /^some\/folder\/(content|entries)\/[\da-f-]{36}$/)
  await request(service.port, `/uploads/${id}`, { method: 'DELETE' })
})

test('a client that leaves in the middle leaves no object and no part', { skip }, async () => {
  for (const bytes of [1_000, 12_000_000]) {
    const socket = await dial(service.port)
    const head = { method: 'POST', headers: { 'Content-Length': '50000000' } }
    socket.write(requestBytes('/uploads', { ...head, body: Buffer.alloc(bytes) }))
    if (bytes > 5_242_880) await until('parts have arrived', async () => (await kept()).length > 0)
    socket.destroy()
    await until('nothing is left', async () => (await kept()).length === 0)
  }
})

test('a bucket that is not there, and a storage that is down, are a 503', { skip }, async () => {
  const away = { UPLOADS: 's3://not-there', UPLOADS_S3_ENDPOINT: s3.endpoint }
  const down = { UPLOADS: `s3://${s3.bucket}`, UPLOADS_S3_ENDPOINT: 'http://127.0.0.1:9' }
  for (const env of [away, down]) {
    await using broken = await startTestService({ ...s3.env, ...env })
    for (const [method, path] of [
      ['POST', '/uploads'],
      ['GET', '/uploads'],
    ] as const) {
      const body = method === 'POST' ? 'x' : ''
      const answer = await request(broken.port, path, { method, body })
      const { code } = JSON.parse(answer.body.toString()) as { code: string }
      assert.deepEqual([answer.status, code], [503, 'storage-unavailable'], `${method} ${env.UPLOADS}`)
    }
  }
})

test('a storage that hangs is waited for no longer than the deadline', { skip }, async () => {
  await using hung = await startS3()
  await using impatient = await startTestService({ ...hung.env, DEADLINE_MS: '300' })
  assert.equal((await request(impatient.port, '/uploads')).status, 200)
  hung.hang()
  const start = performance.now()
  assert.equal((await request(impatient.port, '/uploads')).status, 504)
  assert.ok(performance.now() - start < 2_000)
})

test('a storage that goes down in the middle is a 503 for the upload, and later ones', { skip }, async () => {
  await using falling = await startS3()
  await using fragile = await startTestService(falling.env)
  const socket = await dial(fragile.port)
  const answered = new Promise<string>((resolve) => socket.once('data', (bytes: Buffer) => resolve(bytes.toString())))
  const head = { method: 'POST', headers: { 'Content-Length': '20000000' } }
  socket.write(requestBytes('/uploads', { ...head, body: Buffer.alloc(6_000_000) }))
  await until('a part has arrived', async () => (await falling.keys()).unfinished.length === 1)
  await falling.stop()
  socket.write(Buffer.alloc(14_000_000))
  assert.match(await answered, /^HTTP\/1\.1 503 /)
  socket.destroy()
  assert.equal((await request(fragile.port, '/uploads', { method: 'POST', body: 'x' })).status, 503)
})
