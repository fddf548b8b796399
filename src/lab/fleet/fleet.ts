/**
 * What a replica is doing: `starting` (not ready yet), `ready`, or `down` (it ended by itself and will be started again).
 */
export type ReplicaState = 'starting' | 'ready' | 'down'

/** One replica of the service as it is at one moment. */
export type ReplicaStatus = Readonly<{
  /** What the replica calls itself in the `Plimsoll-Instance` header: `local-1`, or the name of a pod. */
  name: string
  /** Where it serves, without a slash at the end: `http://127.0.0.1:8080`. */
  url: string
  /** Where its metrics, probes and faults are: `http://127.0.0.1:9464`. */
  adminUrl: string
  state: ReplicaState
}>

/**
 * Some replicas of the service that can be made more or fewer; how they run is the business of who implements it.
 * Disposing stops all of them.
 */
export interface Fleet extends AsyncDisposable {
  /** The replicas there should be now, in the order they were started in. */
  replicas(): readonly ReplicaStatus[]
  /**
   * Starts replicas, or stops the newest, until there are `count`; resolves when all of them are ready and the others
   * have drained. Calls are carried out one after the other. Rejects with a `replica_failed` failure if one does not
   * get ready, and then runs no more replicas than before.
   */
  scaleTo(count: number): Promise<void>
  /** Drains and stops all replicas. */
  stop(): Promise<void>
}
