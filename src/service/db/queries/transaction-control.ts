import { statement } from '../statement.ts'

const nothing = (): void => {}

/** Opens a transaction at the server's default isolation, READ COMMITTED. */
export const begin = statement<void, []>('begin', 'begin', nothing)

/** Makes a transaction's effects lasting. */
export const commit = statement<void, []>('commit', 'commit', nothing)

/** Takes a transaction's effects back. */
export const rollback = statement<void, []>('rollback', 'rollback', nothing)
