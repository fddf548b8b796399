import { once } from 'node:events'
import { createServer } from 'node:net'
import { Failure } from '../../kit/errors.ts'

export type PortSearch = {
  /** What the port is for, as a note calls it: `PostgreSQL`, `http of local-1`. */
  readonly purpose: string
  /** The port to try first; the search goes upwards from it. */
  readonly first: number
  /** The address that will be listened on. */
  readonly host: string
  /** Ports that this process has already given away; the one found is added. */
  readonly reserved: Set<number>
  /** Told when a port in use was stepped over. */
  readonly note: (text: string) => void
}

/** How many ports in a row are tried before the search gives up. */
const longestSearch = 200

/**
 * Finds the first port at or above `first` that nobody listens on, and reserves it. Another process may still take
 * it before it is used: whoever listens on it must be ready to search again (see `isFree`).
 * Throws a `no_free_port` failure after 200 ports.
 */
export const findFreePort = async ({ purpose, first, host, reserved, note }: PortSearch): Promise<number> => {
  const last = Math.min(first + longestSearch - 1, 65_535)
  let inUse = 0
  for (let port = first; port <= last; port += 1) {
    if (reserved.has(port)) continue
    // Before the first await, so that two searches at once do not find the same port.
    reserved.add(port)
    if (await isFree(port, host)) {
      if (inUse > 0) note(`port ${first} is in use: ${purpose} is on ${port}`)
      return port
    }
    reserved.delete(port)
    inUse += 1
  }
  throw new Failure('no_free_port', { detail: `no free port for ${purpose} from ${first} to ${last} on ${host}` })
}

/** Whether this process could listen on the port now. */
export const isFree = async (port: number, host: string): Promise<boolean> => {
  const probe = createServer()
  try {
    probe.listen({ port, host, exclusive: true })
    await once(probe, 'listening')
  } catch {
    return false
  }
  probe.close()
  await once(probe, 'close')
  return true
}
