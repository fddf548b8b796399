/** How important a request is, the most important first: `limiter.ts` serves, sheds and reserves slots by it. */
export const priorities = ['critical', 'normal', 'sheddable'] as const

export type Priority = (typeof priorities)[number]

/** Index of a priority in {@link priorities}; the smaller, the more important. */
export type Rank = 0 | 1 | 2

export type QueueOrder = 'fifo' | 'lifo'

/**
 * What can wait in a queue. The fields belong to the queue that it waits in; it is its own list node, so that to queue
 * and to withdraw allocates nothing and takes the same time at any length.
 */
export abstract class Waiting {
  rank: Rank
  queuedAtMs = 0
  /** Undefined while it does not wait, here and below. */
  queue: Queue<Waiting> | undefined = undefined
  older: Waiting | undefined = undefined
  newer: Waiting | undefined = undefined

  constructor(rank: Rank) {
    this.rank = rank
  }
}

/**
 * Those of one priority that wait, as a list from the oldest to the newest.
 *
 * Invariants: `length` is the number of nodes between `oldest` and `newest`; both are undefined when it is 0; a node's
 * `queue` is this queue exactly while it is in the list.
 */
export class Queue<Entry extends Waiting> {
  length = 0
  oldest: Entry | undefined = undefined
  newest: Entry | undefined = undefined

  push(entry: Entry, nowMs: number): void {
    entry.queue = this
    entry.queuedAtMs = nowMs
    entry.older = this.newest
    if (this.newest === undefined) this.oldest = entry
    else this.newest.newer = entry
    this.newest = entry
    this.length++
  }

  remove(entry: Entry): void {
    const { older, newer } = entry
    if (older === undefined) this.oldest = newer as Entry | undefined
    else older.newer = newer
    if (newer === undefined) this.newest = older as Entry | undefined
    else newer.older = older
    entry.queue = entry.older = entry.newer = undefined
    this.length--
  }
}
