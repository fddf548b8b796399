/** Python environments for what the tests and the benchmark run beside the service. */
import { execFile } from 'node:child_process'
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { promisify } from 'node:util'

const execute = promisify(execFile)

const read = (file: string): Promise<string | undefined> => readFile(file, 'utf8').catch(() => undefined)

const isPrepared = async (folder: string, requirements: string): Promise<boolean> =>
  (await read(`${folder}/installed.txt`)) === requirements

/**
 * Makes an environment in `folder` with the releases that a file of requirements pins, once, and again when the file
 * changes; its interpreter is `bin/python`. Several processes may do so at once: each makes its own, and the first that
 * is done gives it to all. Returns why that cannot be done, or undefined when all is well.
 */
export const preparePython = async (folder: string, requirementsFile: string): Promise<string | undefined> => {
  const requirements = await readFile(requirementsFile, 'utf8')
  if (await isPrepared(folder, requirements)) return undefined
  const own = `${folder}.${process.pid}`
  try {
    await install(own, requirementsFile)
    await writeFile(`${own}/installed.txt`, requirements)
    if (!(await isPrepared(folder, requirements))) await replace(folder, own)
    return undefined
  } catch (error) {
    return (await isPrepared(folder, requirements)) ? undefined : lastLine(error as Error)
  } finally {
    await rm(own, { recursive: true, force: true })
  }
}

const install = async (folder: string, requirementsFile: string): Promise<void> => {
  await execute('python3', ['-m', 'venv', '--clear', folder])
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--requirement', requirementsFile]
  await execute(`${folder}/bin/python`, pip)
}

const replace = async (folder: string, by: string): Promise<void> => {
  await rm(folder, { recursive: true, force: true })
  await rename(by, folder)
}

const lastLine = ({ stderr = '', message }: Error & { stderr?: string }): string =>
  (stderr.trim() || message).split('\n').at(-1)!
