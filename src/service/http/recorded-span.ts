import type { Span } from '../../kit/trace.ts'
import type { ServiceContext } from './lean-koa.ts'

/** What is recorded of a request as a whole; undefined where it is not recorded, or not yet. */
export const recordedSpan = ({ trace }: ServiceContext): Span | undefined =>
  trace !== undefined && trace.sampled ? trace.root : undefined
