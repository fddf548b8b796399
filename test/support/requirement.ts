import { spawnSync } from 'node:child_process'

/**
 * For the `skip` option of a test that needs what a system package brings: false where it is there, otherwise the
 * notice. With PLIMSOLL_REQUIRE_ALL=1, as in CI, what is missing is an error.
 */
export const requirement = (what: string, found: boolean): false | string => {
  if (found) return false
  if (process.env['PLIMSOLL_REQUIRE_ALL'] === '1') throw new Error(`${what} is missing`)
  return `${what} is not installed here`
}

/** Whether a program can be started by this name. */
export const hasProgram = (name: string): boolean => spawnSync('which', [name]).status === 0
