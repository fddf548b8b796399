import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test, type TestContext } from 'node:test'
import { serve, type Serving } from '../support/cli.ts'
import { dial } from '../support/http.ts'
import { hasProgram, requirement } from '../support/requirement.ts'
import { startS3, withoutS3 } from '../support/s3.ts'
import { until } from '../support/until.ts'

const mebibyte = 1024 ** 2
const mostCostBytes = 64 * mebibyte

const makeFolder = async (t: TestContext): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'plimsoll-uploads-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** The most memory that a process has had resident. */
const peakBytes = async ({ process }: Serving): Promise<number> => {
  const status = await readFile(`/proc/${process.pid}/status`, 'utf8')
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024
}

const descriptors = async ({ process }: Serving): Promise<number> => (await readdir(`/proc/${process.pid}/fd`)).length

const zeros = (bytes: number): Readable => {
  const chunk = Buffer.alloc(65_536)
  let left = bytes
  return new Readable({
    read() {
      const size = Math.min(left, chunk.length)
      left -= size
      this.push(size === 0 ? null : chunk.subarray(0, size))
    },
  })
}

/** Streams zeros to the service and returns its answer. */
const upload = async ({ url }: Serving, bytes: number): Promise<{ status: number; id: string; size: number }> => {
  const request = httpRequest(`${url}/uploads`, { method: 'POST', headers: { 'Content-Length': bytes } })
  const answered = new Promise<Readable & { statusCode?: number }>((resolve, reject) => {
    request.once('response', resolve).once('error', reject)
  })
  await pipeline(zeros(bytes), request)
  const answer = await answered
  const body = Buffer.concat(await answer.toArray()).toString()
  return { status: answer.statusCode!, ...(JSON.parse(body) as { id: string; size: number }) }
}

const download = async ({ url }: Serving, id: string): Promise<number> => {
  let bytes = 0
  const { body } = await fetch(`${url}/uploads/${id}`)
  for await (const chunk of body!) bytes += (chunk as Uint8Array).length
  return bytes
}

/** How much more memory a process ever had after an upload and a download than after small ones. */
const costOf = async (service: Serving, bytes: number): Promise<number> => {
  await download(service, (await upload(service, 100_000)).id)
  const before = await peakBytes(service)
  const { status, id, size } = await upload(service, bytes)
  assert.deepEqual([status, size], [201, bytes])
  assert.equal(await download(service, id), bytes)
  return (await peakBytes(service)) - before
}

test('2 GB that stream to a directory and back cost at most 64 MiB of memory', async (t) => {
  await using service = await serve([], { UPLOADS: await makeFolder(t) })
  const costBytes = await costOf(service, 2_000_000_000)
  t.diagnostic(`${(costBytes / mebibyte).toFixed(1)} MiB`)
  assert.ok(costBytes <= mostCostBytes, `${costBytes / mebibyte} MiB`)
})

// The test's S3 server keeps in memory whatever it is given, twice.
const withoutBucket = await withoutS3()
test('300 MB that stream to S3 and back cost at most 64 MiB of memory', { skip: withoutBucket }, async (t) => {
  await using s3 = await startS3()
  await using service = await serve([], s3.env)
  const costBytes = await costOf(service, 300_000_000)
  t.diagnostic(`${(costBytes / mebibyte).toFixed(1)} MiB`)
  assert.ok(costBytes <= mostCostBytes, `${costBytes / mebibyte} MiB`)
})

const form = '--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
const heads = [
  'Content-Length: 10000000\r\n\r\n',
  'Transfer-Encoding: chunked\r\n\r\n2710\r\n',
  `Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 10000000\r\n\r\n${form}`,
]
const endings = ['destroy', 'resetAndDestroy', 'end'] as const

test('1,000 aborted uploads leave no file, descriptor or connection', async (t) => {
  const folder = await makeFolder(t)
  await using service = await serve([], { UPLOADS: folder })
  const { port } = new URL(service.url)
  await upload(service, 1_000)
  const before = await descriptors(service)
  const [stored] = [await readdir(folder)]
  let most = 0
  for (let i = 0; i < 1_000; i += 50) {
    const sockets = await Promise.all(Array.from({ length: 50 }, () => dial(Number(port))))
    for (const [j, socket] of sockets.entries()) {
      socket.write(`POST /uploads HTTP/1.1\r\nHost: test\r\n${heads[j % heads.length]}`)
      socket.write(Buffer.alloc(j * 200))
    }
    await until('their files are there', async () => (await readdir(folder)).length === stored.length + 50)
    most = Math.max(most, await descriptors(service))
    for (const [j, socket] of sockets.entries()) socket[endings[(i / 50 + j) % endings.length]!]()
    for (const socket of sockets) socket.destroySoon()
  }
  await until('their files are gone', async () => (await readdir(folder)).length === stored.length)
  await until('nothing is open any more', async () => (await descriptors(service)) <= before)
  assert.ok(most >= before + 100, `${most} were open at a time`)
  assert.equal((await upload(service, 1_000)).status, 201)
  assert.deepEqual(
    service.log.filter(({ level }) => level !== 'info'),
    [],
  )
})

const withoutPrlimit = requirement('prlimit', hasProgram('prlimit'))
test(
  'a disk without space is a 503, nothing is left, and there is room again later',
  { skip: withoutPrlimit },
  async (t) => {
    const folder = await makeFolder(t)
    await using service = await serve([], { UPLOADS: folder })
    const limit = (bytes: string): void => {
      assert.equal(spawnSync('prlimit', ['--pid', String(service.process.pid), `--fsize=${bytes}`]).status, 0)
    }
    // To the process, a file that may not grow is like a disk that is full. Its log is a pipe.
    limit('1000000:unlimited')
    assert.equal((await upload(service, 5_000_000)).status, 503)
    assert.deepEqual(await readdir(folder), [])
    limit('unlimited:unlimited')
    assert.equal((await upload(service, 5_000_000)).status, 201)
  },
)
