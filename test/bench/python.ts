/** A Python environment for the FastAPI peer, made once and made again when the pinned releases change. */
import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { pythonEnvironment, pythonRequirements } from './rows.ts'

const execute = promisify(execFile)
const installedFile = `${pythonEnvironment}/installed.txt`

const read = (file: string): Promise<string | undefined> => readFile(file, 'utf8').catch(() => undefined)

const install = async (requirements: string): Promise<void> => {
  await execute('python3', ['-m', 'venv', '--clear', pythonEnvironment])
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--requirement', pythonRequirements]
  await execute(`${pythonEnvironment}/bin/python`, pip)
  await writeFile(installedFile, requirements)
}

const lastLine = (error: unknown): string => {
  const { stderr = '', message } = error as Error & { stderr?: string }
  return (stderr.trim() || message).split('\n').at(-1)!
}

/** Makes the environment unless it is there; returns why Python cannot, or undefined when all is well. */
export const preparePython = async (): Promise<string | undefined> => {
  const requirements = await readFile(pythonRequirements, 'utf8')
  if ((await read(installedFile)) === requirements) return undefined
  return install(requirements).then(() => undefined, lastLine)
}
