import { statement } from '../statement.ts'

const nothing = (): void => {}

/** Opens a transaction at the server's default isolation, READ COMMITTED. */
export const begin = statement<void, []>('begin', 'begin', nothing)

/**
 * Makes a transaction's effects lasting. After a failed statement the server takes them back instead, and does not call
 * that an error; here it is one.
 */
export const commit = statement<void, []>('commit', 'commit', nothing, 'COMMIT')

/** Takes a transaction's effects back. */
export const rollback = statement<void, []>('rollback', 'rollback', nothing)
