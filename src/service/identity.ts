import type { Config } from './config.ts'

/** Which process answers. */
export type Identity = {
  readonly service: string
  readonly version: string
  readonly revision: string
  /** The replica; several workers share it. */
  readonly instance: string
  /** 1 for a replica of one process; with several workers their number. */
  readonly worker: number
  /** What `Plimsoll-Instance` says: the instance, and the worker where there are several. */
  readonly name: string
}

/** Names a process of the service. */
export const identify = ({ build, instance, workers }: Config, worker: number): Identity => ({
  service: build.name,
  version: build.version,
  revision: build.revision,
  instance,
  worker,
  name: workers === 1 ? instance : `${instance}/${worker}`,
})
