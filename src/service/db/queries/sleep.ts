import { statement } from '../statement.ts'

/** Keeps a connection busy for a time, as a slow statement does. */
export const sleep = statement<void, [seconds: number]>('sleep', 'select pg_sleep($1::double precision)', () => {})
