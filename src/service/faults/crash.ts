/**
 * `exception`: an error that nobody catches, exit code 1. `kill`: SIGKILL, as by the kernel when memory runs out. Neither
 * drains.
 */
export const crashKinds = ['exception', 'kill'] as const
export type CrashKind = (typeof crashKinds)[number]

/** Ends this process abnormally. */
export const crashProcess = (how: CrashKind): void => {
  if (how === 'kill') process.kill(process.pid, 'SIGKILL')
  // After SIGKILL only the first process of a container comes here: the kernel lets it not kill itself.
  setImmediate(() => {
    throw new Error('crashed, as asked for on the admin port')
  })
}
