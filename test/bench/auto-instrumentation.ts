/** The packages of the standard auto-instrumentation, which Plimsoll itself does without. */
import { execFile } from 'node:child_process'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { autoFolder } from './telemetry-rows.ts'

const execute = promisify(execFile)
const peer = fileURLToPath(new URL('peers/auto-instrumentation', import.meta.url))
const mark = `${autoFolder}/installed.json`

const npmCi = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--fetch-retries=1', '--prefix', autoFolder]

const install = async (lock: string): Promise<void> => {
  await mkdir(autoFolder, { recursive: true })
  for (const file of ['package.json', 'package-lock.json']) await copyFile(`${peer}/${file}`, `${autoFolder}/${file}`)
  await execute('npm', npmCi, { cwd: autoFolder })
  await writeFile(mark, lock)
}

/** What npm says first that is more than a code. */
const reasonOf = ({ stderr = '', message }: Error & { stderr?: string }): string =>
  (stderr.match(/^npm error (?!code |syscall |errno )(.+)$/m)?.[1] ?? message).split('\n')[0]!

/** Installs them unless they are there as the lock has them; returns why npm cannot, or undefined when all is well. */
export const prepareAutoInstrumentation = async (): Promise<string | undefined> => {
  const lock = await readFile(`${peer}/package-lock.json`, 'utf8')
  const installed = await readFile(mark, 'utf8').catch(() => undefined)
  if (installed === lock) return undefined
  try {
    await install(lock)
    return undefined
  } catch (error) {
    return reasonOf(error as Error)
  }
}
