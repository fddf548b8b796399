/** A real S3 server for the tests: moto's, which keeps what it is given in memory. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import * as aws from '@aws-sdk/client-s3'
import { freePort } from '../../src/service/server.ts'
import { preparePython } from './python.ts'
import { requirement } from './requirement.ts'
import { until } from './until.ts'

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const environment = here('../../.plimsoll/test/moto')

/** For the `skip` option of tests that need it. The first call may install it, which takes some seconds. */
export const withoutS3 = async (): Promise<false | string> => {
  const whyNot = await preparePython(environment, here('moto-requirements.txt'))
  return requirement(`python3 with moto${whyNot === undefined ? '' : ` (${whyNot})`}`, whyNot === undefined)
}

export type TestS3 = AsyncDisposable & {
  readonly endpoint: string
  /** What a service or a command needs in its environment to reach the bucket. */
  readonly env: Readonly<Record<string, string>>
  readonly bucket: string
  /** Keys of all objects, and of objects whose parts are still kept. */
  readonly keys: () => Promise<{ objects: string[]; unfinished: string[] }>
  /** Ends it at once: its connections are reset, new ones refused. */
  readonly stop: () => Promise<void>
  /** It takes connections and bytes, and answers nothing. */
  readonly hang: () => void
}

const bucket = 'plimsoll-test'
// Any will do; what runs inside the test's process takes them from its environment, too.
const credentials = { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test', AWS_EC2_METADATA_DISABLED: 'true' }

/** Starts a server on a free port of 127.0.0.1 with one empty bucket. */
export const startS3 = async (): Promise<TestS3> => {
  Object.assign(process.env, credentials)
  const port = await freePort('127.0.0.1')
  const args = ['-m', 'moto.server', '-H', '127.0.0.1', '-p', String(port)]
  const server = spawn(`${environment}/bin/python`, args, { stdio: 'ignore' })
  const endpoint = `http://127.0.0.1:${port}`
  const client = new aws.S3Client({ endpoint, forcePathStyle: true, region: 'us-east-1' })
  const stop = async (): Promise<void> => {
    client.destroy()
    await kill(server)
  }
  await until('moto listens', () => makeBucket(client), 30_000).catch(async (error: unknown) => {
    await stop()
    throw error
  })
  const env = { ...credentials, UPLOADS: `s3://${bucket}/some/folder`, UPLOADS_S3_ENDPOINT: endpoint }
  const hang = (): void => void server.kill('SIGSTOP')
  return { endpoint, env, bucket, keys: () => keysOf(client), stop, hang, [Symbol.asyncDispose]: stop }
}

const kill = async (server: ChildProcess): Promise<void> => {
  if (server.exitCode !== null || server.signalCode !== null) return
  server.kill('SIGKILL')
  await once(server, 'exit')
}

const makeBucket = (client: aws.S3Client): Promise<boolean> =>
  client.send(new aws.CreateBucketCommand({ Bucket: bucket })).then(
    () => true,
    () => false,
  )

const keysOf = async (client: aws.S3Client): Promise<{ objects: string[]; unfinished: string[] }> => {
  const { Contents = [] } = await client.send(new aws.ListObjectsV2Command({ Bucket: bucket }))
  const { Uploads = [] } = await client.send(new aws.ListMultipartUploadsCommand({ Bucket: bucket }))
  return { objects: Contents.map(({ Key }) => Key!), unfinished: Uploads.map(({ Key }) => Key!) }
}
