import { setTimeout as sleep } from 'node:timers/promises'

/** Tries every 20 ms until `probe` gives something other than undefined and false; fails after `timeoutMs`. */
export const until = async <Result>(
  what: string,
  probe: () => Promise<Result | undefined | false> | Result | undefined | false,
  timeoutMs = 5_000,
): Promise<Result> => {
  const deadline = performance.now() + timeoutMs
  while (performance.now() < deadline) {
    const result = await probe()
    if (result !== undefined && result !== false) return result
    await sleep(20)
  }
  throw new Error(`${what}: not within ${timeoutMs} ms`)
}
