import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readlink, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Upload } from '../../src/service/uploads/upload.ts'
import { collect, dial, exchange, type RawAnswer, readAnswers, request, requestBytes } from '../support/http.ts'
import { startTestService, type TestService } from '../support/service.ts'
import { until } from '../support/until.ts'

const maxBytes = 1_000_000
const idleMs = 400
let folder: string
let service: TestService

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plimsoll-uploads-'))
  service = await startTestService({
    UPLOADS: join(folder, 'uploads'),
    MAX_UPLOAD_BYTES: String(maxBytes),
    UPLOAD_IDLE_TIMEOUT_MS: String(idleMs),
    REQUEST_TIMEOUT_MS: '300',
  })
})
after(async () => {
  await service[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})
beforeEach(() => rm(join(folder, 'uploads'), { recursive: true, force: true }))

const files = (): Promise<string[]> => readdir(join(folder, 'uploads')).catch(() => [])
const noFile = (): Promise<true> => until('no file is left', async () => (await files()).length === 0)

const post = (body: string | Buffer, headers: Record<string, string> = {}): Promise<RawAnswer> =>
  request(service.port, '/uploads', { method: 'POST', body, headers })
const get = (path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<RawAnswer> =>
  request(service.port, path, { method, headers })

const uploadOf = (answer: RawAnswer): Upload => {
  assert.equal(answer.status, 201, answer.body.toString())
  return JSON.parse(answer.body.toString()) as Upload
}

const assertProblem = (answer: RawAnswer | undefined, status: number, code: string, detail = /(?:)/): void => {
  assert.ok(answer !== undefined)
  const problem = JSON.parse(answer.body.toString()) as { code: string; detail?: string }
  assert.deepEqual([answer.status, problem.code], [status, code])
  assert.match(problem.detail ?? '', detail)
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
const base64 = (hex: string): string => Buffer.from(hex, 'hex').toString('base64')
const content = randomBytes(700_000)

test('content comes back byte for byte with what was said of it', async () => {
  const headers = { 'Content-Type': 'image/png', 'Content-Disposition': `attachment; filename*=UTF-8''na%C3%AFve.png` }
  const answer = await post(content, headers)
  const upload = uploadOf(answer)
  const { id, createdAt } = upload
  assert.deepEqual(upload, {
    id,
    name: 'na\u00efve.png',
    type: 'image/png',
    size: content.length,
    sha256: sha256(content),
    createdAt,
  })
  assert.deepEqual([answer.header('Location'), answer.header('ETag')], [`/uploads/${id}`, `"${sha256(content)}"`])
  const got = await get(`/uploads/${id}`)
  assert.equal(got.status, 200)
  assert.ok(got.body.equals(content))
  const expected = {
    'Content-Type': 'image/png',
    'Content-Length': String(content.length),
    'Content-Disposition': `attachment; filename="na\u00efve.png"`,
    'X-Content-Type-Options': 'nosniff',
    'Content-Security-Policy': "sandbox; default-src 'none'",
    'Accept-Ranges': 'bytes',
    ETag: `"${sha256(content)}"`,
    'Repr-Digest': `sha-256=:${base64(sha256(content))}:`,
    'Plimsoll-Instance': 'test',
  }
  assert.deepEqual(Object.fromEntries(Object.keys(expected).map((name) => [name, got.header(name)])), expected)
})

test('a browser form with one file is that file', async () => {
  const form = new FormData()
  form.set('anything', new File([content], '../\u65e5\u672c.bin', { type: 'application/x-thing' }))
  const answer = await fetch(`${service.url}/uploads`, { method: 'POST', body: form })
  assert.equal(answer.status, 201)
  const upload = (await answer.json()) as Upload
  assert.deepEqual(
    [upload.name, upload.type, upload.size, upload.sha256],
    ['\u65e5\u672c.bin', 'application/x-thing', content.length, sha256(content)],
  )
  const got = await get(`/uploads/${upload.id}`)
  assert.equal(
    got.header('Content-Disposition'),
    `attachment; filename="??.bin"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.bin`,
  )
})

test('chunks, no type and no name, no byte at all: each is an upload', async () => {
  const chunked = await post('5\r\nhello\r\n0\r\n\r\n', { 'Transfer-Encoding': 'chunked' })
  const { id, name, type, size } = uploadOf(chunked)
  assert.deepEqual([name, type, size], [null, 'application/octet-stream', 5])
  assert.equal((await get(`/uploads/${id}`)).header('Content-Disposition'), 'attachment')
  const empty = uploadOf(await post('', { 'Content-Length': '0' }))
  assert.deepEqual([empty.size, empty.sha256], [0, sha256(Buffer.alloc(0))])
  const got = await get(`/uploads/${empty.id}`)
  assert.deepEqual([got.status, got.header('Content-Length'), got.body.length], [200, '0', 0])
})

test('names never reach the file system', async () => {
  const name = '../../../../tmp/plimsoll-escaped'
  const { id } = uploadOf(await post('x', { 'Content-Disposition': `attachment; filename="${name}"` }))
  assert.deepEqual((await files()).sort(), [`${id}.content`, `${id}.json`])
  for (const path of ['/uploads/..%2f..%2fetc%2fpasswd', `/uploads/${id}.json`, '/uploads/%00']) {
    assertProblem(await get(path), 400, 'invalid-request')
  }
})

test('a range is those bytes, one that is not there a 416, and several are answered with all', async () => {
  const { id, size, sha256: tag } = uploadOf(await post(content))
  const ranges: readonly (readonly [range: string, start: number, end: number])[] = [
    ['bytes=0-0', 0, 0],
    ['bytes=100-300099', 100, 300_099],
    ['bytes=699999-', 699_999, 699_999],
    ['bytes=-5', 699_995, 699_999],
    ['bytes=-9999999', 0, 699_999],
    ['bytes=5-9999999', 5, 699_999],
  ]
  for (const [range, start, end] of ranges) {
    const answer = await get(`/uploads/${id}`, { Range: range })
    assert.deepEqual([answer.status, answer.header('Content-Range')], [206, `bytes ${start}-${end}/${size}`], range)
    assert.ok(answer.body.equals(content.subarray(start, end + 1)), range)
  }
  const beyond = await get(`/uploads/${id}`, { Range: `bytes=${size}-` })
  assertProblem(beyond, 416, 'range-not-satisfiable')
  assert.equal(beyond.header('Content-Range'), `bytes */${size}`)
  for (const headers of [{ Range: 'bytes=0-1,5-6' }, { Range: 'bytes=0-1', 'If-Range': '"other"' }]) {
    assert.equal((await get(`/uploads/${id}`, headers)).status, 200)
  }
  assert.equal((await get(`/uploads/${id}`, { Range: 'bytes=0-1', 'If-Range': `"${tag}"` })).status, 206)
})

test('HEAD tells what GET would, without the content; a client that has it is told 304', async () => {
  const { id, sha256: tag } = uploadOf(await post(content))
  const head = await get(`/uploads/${id}`, { Range: 'bytes=0-1' }, 'HEAD')
  assert.deepEqual([head.status, head.header('Content-Length'), head.body.length], [200, String(content.length), 0])
  for (const known of [`"${tag}"`, `W/"${tag}"`, `"x", "${tag}"`, '*']) {
    const answer = await get(`/uploads/${id}`, { 'If-None-Match': known })
    assert.deepEqual([answer.status, answer.header('ETag'), answer.body.length], [304, `"${tag}"`, 0])
  }
  assert.equal((await get(`/uploads/${id}`, { 'If-None-Match': '"other"' })).status, 200)
})

test('the list is newest first, in pages that link to the next', async () => {
  const ids: string[] = []
  for (let i = 0; i < 5; i += 1) ids.unshift(uploadOf(await post(`number ${i}`)).id)
  const seen: string[] = []
  for (let path: string | undefined = '/uploads?limit=2'; path !== undefined;) {
    const answer = await get(path)
    const { uploads } = JSON.parse(answer.body.toString()) as { uploads: Upload[] }
    seen.push(...uploads.map(({ id }) => id))
    path = /^<(.*)>; rel="next"$/.exec(answer.header('Link') ?? '')?.[1]
  }
  assert.deepEqual(seen, ids)
  for (const query of ['limit=0', 'limit=101', 'before=x', 'more=1']) {
    assertProblem(await get(`/uploads?${query}`), 400, 'invalid-request')
  }
})

test('what is deleted is gone, without a trace, and once', async () => {
  const { id } = uploadOf(await post('x'))
  assert.equal((await get(`/uploads/${id.toUpperCase()}`)).status, 200)
  assert.equal((await get(`/uploads/${id}`, {}, 'DELETE')).status, 204)
  assertProblem(await get(`/uploads/${id}`), 404, 'not-found')
  assertProblem(await get(`/uploads/${id}`, {}, 'DELETE'), 404, 'not-found')
  assert.deepEqual(await files(), [])
})

test('content over the limit is a 413, told before it is sent where it can be, and leaves nothing', async () => {
  const head = await exchange(
    service.port,
    `POST /uploads HTTP/1.1\r\nHost: test\r\nContent-Length: ${maxBytes + 1}\r\n\r\n`,
  )
  assertProblem(readAnswers(head)[0], 413, 'body-too-large', /1000000/)
  const large = Buffer.alloc(maxBytes + 1)
  const chunk = Buffer.concat([Buffer.from(`${large.length.toString(16)}\r\n`), large, Buffer.from('\r\n0\r\n\r\n')])
  assertProblem(await post(chunk, { 'Transfer-Encoding': 'chunked' }), 413, 'body-too-large')
  const form = new FormData()
  form.set('file', new Blob([large]))
  assert.equal((await fetch(`${service.url}/uploads`, { method: 'POST', body: form })).status, 413)
  await noFile()
  assert.equal(uploadOf(await post(Buffer.alloc(maxBytes))).size, maxBytes)
})

test('a condition on another content than there is, by If-Match, is a 412, and nothing is removed', async () => {
  const { id, sha256 } = uploadOf(await post('content'))
  for (const match of ['"other"', `W/"${sha256}"`, '']) {
    for (const method of ['GET', 'HEAD', 'DELETE']) {
      assert.equal((await get(`/uploads/${id}`, { 'If-Match': match }, method)).status, 412, `${method} ${match}`)
    }
  }
  for (const match of ['*', `"other", "${sha256}"`]) {
    assert.equal((await get(`/uploads/${id}`, { 'If-Match': match })).body.toString(), 'content')
  }
  assert.equal((await get(`/uploads/${id}`, { 'If-Match': `"${sha256}"` }, 'DELETE')).status, 204)
  assert.deepEqual(await files(), [])
})

const right = `sha-256=:${base64(sha256(Buffer.from('hello')))}:`
const other = `sha-256=:${base64(sha256(Buffer.from('other')))}:`
const mistakes: readonly (readonly [what: string, headers: Record<string, string>, status: number, code: string])[] = [
  ['a digest of other content', { 'Content-Digest': other }, 400, 'malformed-request'],
  ['a digest of another representation', { 'Repr-Digest': other }, 400, 'malformed-request'],
  ['a second digest of other content', { 'Content-Digest': right, 'Repr-Digest': other }, 400, 'invalid-request'],
  ['a digest that is none', { 'Content-Digest': 'sha-256=x' }, 400, 'invalid-request'],
  ['a type that is none', { 'Content-Type': 'x' }, 400, 'invalid-request'],
  ['a disposition that is none', { 'Content-Disposition': 'a; b; c' }, 400, 'invalid-request'],
  ['a content coding', { 'Content-Encoding': 'gzip' }, 415, 'unsupported-media-type'],
  ['a form without a boundary', { 'Content-Type': 'multipart/form-data' }, 400, 'malformed-request'],
  ['a form that is none', { 'Content-Type': 'multipart/form-data; boundary=x' }, 400, 'malformed-request'],
]

for (const [what, headers, status, code] of mistakes) {
  test(`${what} is a ${status}, leaves nothing, and the connection goes on`, async () => {
    const all = { Connection: 'keep-alive', 'Content-Length': '5', ...headers }
    const first = requestBytes('/uploads', { method: 'POST', headers: all, body: 'hello' })
    const answers = readAnswers(await exchange(service.port, Buffer.concat([first, requestBytes('/json')])))
    assertProblem(answers[0], status, code)
    assert.equal(answers[1]?.status, 200)
    assert.deepEqual(await files(), [])
  })
}

test('no body at all is a mistake', async () => {
  const bytes = await exchange(service.port, 'POST /uploads HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n')
  assertProblem(readAnswers(bytes)[0], 400, 'invalid-request')
})

test('a digest that is right is accepted', async () => {
  const digest = `sha-256=:${base64(sha256(content))}:`
  assert.equal(uploadOf(await post(content, { 'Content-Digest': digest, 'Repr-Digest': digest })).size, content.length)
})

/** Starts an upload and sends the first bytes of it. */
const begin = async (bytes: string, headers = 'Content-Length: 100000'): Promise<Awaited<ReturnType<typeof dial>>> => {
  const socket = await dial(service.port)
  socket.write(`POST /uploads HTTP/1.1\r\nHost: test\r\n${headers}\r\n\r\n${bytes}`)
  await until('its file is there', async () => (await files()).length === 1)
  return socket
}

test('a client that is silent for the idle timeout is told 408, and nothing is left', async () => {
  const socket = await begin('half of it')
  const start = performance.now()
  const [answer] = readAnswers(await collect(socket))
  assertProblem(answer, 408, 'request-timeout')
  assert.ok(performance.now() - start > idleMs * 0.5)
  await noFile()
})

test('an upload may take longer than a request otherwise, as long as something comes', async () => {
  const socket = await dial(service.port)
  const received = collect(socket)
  socket.write('POST /uploads HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 8\r\n\r\n')
  for (const byte of 'patience') {
    await sleep(120)
    socket.write(byte)
  }
  const [answer] = readAnswers(await received)
  assert.equal(uploadOf(answer!).size, 8)
})

test('a body that is no upload still has its time, and no more', async () => {
  const start = performance.now()
  const bytes = await exchange(service.port, 'POST /nothing HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\nhalf')
  assertProblem(readAnswers(bytes)[0], 404, 'not-found')
  assert.ok(performance.now() - start < 2_000)
})

for (const end of ['destroy', 'end', 'resetAndDestroy'] as const) {
  test(`a client that leaves by ${end}() leaves nothing behind, raw or with a form`, async () => {
    const form = '--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nhalf of it'
    const headers = [
      'Content-Length: 100000',
      'Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 100000',
    ]
    for (const [i, bytes] of ['half of it', form].entries()) {
      const socket = await begin(bytes, headers[i])
      socket[end]()
      await noFile()
    }
  })
}

test('a chunk that is none is a 400, and nothing is left', async () => {
  const socket = await begin('5\r\nhello\r\n', 'Transfer-Encoding: chunked')
  const received = collect(socket)
  socket.write('ZZ\r\n')
  assertProblem(readAnswers(await received)[0], 400, 'malformed-request')
  await noFile()
})

test("a client's own deadline ends its upload with a 504, and nothing is left", async () => {
  const socket = await begin('half', 'Request-Timeout-Ms: 150\r\nContent-Length: 100000')
  const received = new Promise<Buffer>((resolve) => socket.once('data', resolve))
  assertProblem(readAnswers(await received)[0], 504, 'deadline-exceeded')
  await noFile()
  socket.destroy()
})

test('a download whose client leaves or takes nothing is ended, and its file closed', async (t) => {
  await using large = await startTestService({ UPLOADS: join(folder, 'large'), UPLOAD_IDLE_TIMEOUT_MS: '300' })
  t.after(() => rm(join(folder, 'large'), { recursive: true, force: true }))
  const stored = await fetch(`${large.url}/uploads`, { method: 'POST', body: Buffer.alloc(30_000_000) })
  const { id } = (await stored.json()) as Upload
  const openFiles = async (): Promise<number> => (await filesOpenedFrom(join(folder, 'large'))).length
  for (const leaves of [true, false]) {
    const socket = await dial(large.port)
    socket.pause()
    socket.write(`GET /uploads/${id} HTTP/1.1\r\nHost: test\r\n\r\n`)
    await until('the file is open', async () => (await openFiles()) === 1)
    if (leaves) socket.destroy()
    await until('the file is closed', async () => (await openFiles()) === 0)
    socket.destroy()
  }
})

/** Which files of a folder this process has open, as /proc shows them. */
const filesOpenedFrom = async (path: string): Promise<string[]> => {
  const descriptors = await readdir('/proc/self/fd')
  const targets = await Promise.all(descriptors.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')))
  return targets.filter((target) => target.startsWith(path))
}

test('a storage that cannot be written is a 503 that says when to try again, and leaves the connection usable', async () => {
  const path = join(folder, 'not-a-directory')
  await writeFile(path, '')
  await using broken = await startTestService({ UPLOADS: path })
  const answer = await request(broken.port, '/uploads', { method: 'POST', body: content })
  assertProblem(answer, 503, 'storage-unavailable')
  assert.equal(answer.header('Retry-After'), '5')
  assert.doesNotMatch(answer.body.toString(), /not-a-directory/)
  assert.equal((await request(broken.port, '/json')).status, 200)
})

test('an entry whose content is gone is no upload', async () => {
  const { id } = uploadOf(await post(content))
  await rm(join(folder, 'uploads', `${id}.content`))
  assertProblem(await get(`/uploads/${id}`), 404, 'not-found')
})

test('uploads are for the service alone to read', async () => {
  const { id } = uploadOf(await post('x'))
  assert.equal((await stat(join(folder, 'uploads'))).mode & 0o77, 0)
  assert.equal((await stat(join(folder, 'uploads', `${id}.content`))).mode & 0o77, 0)
})

test('two services on one directory have the same uploads', async () => {
  await using second = await startTestService({ UPLOADS: join(folder, 'uploads') })
  const { id } = uploadOf(await post(content))
  const got = await request(second.port, `/uploads/${id}`)
  assert.ok(got.body.equals(content))
})

test('a drain that cuts an upload waits until nothing is left of it', async () => {
  const path = join(folder, 'drained')
  const drained = await startTestService({ UPLOADS: path, DRAIN_TIMEOUT_MS: '100' })
  const socket = await dial(drained.port)
  socket.write('POST /uploads HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhalf')
  await until('its file is there', async () => (await readdir(path).catch(() => [])).length === 1)
  await drained[Symbol.asyncDispose]()
  assert.deepEqual(await readdir(path), [])
  socket.destroy()
})
