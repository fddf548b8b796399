import type { Clock } from '../../src/kit/timers.ts'
import { type Span, Trace } from '../../src/kit/trace.ts'

/** A trace on a test's clock that is recorded, with ids that are counted: `...01`, `...02`. */
export const recordedTrace = (clock: Clock): Trace => {
  let made = 0
  const next = (length: number) => (): string => String((made += 1)).padStart(length, '0')
  const ids = { newTraceId: next(32), newSpanId: next(16) }
  return new Trace({ clock, name: 'request', kind: 'server', startMs: clock.now(), sampled: true, ...ids })
}

/** A wish to stop that is never uttered, of a request whose trace this is. */
export const cancelOf = (root: Span, controller = new AbortController()): AbortSignal & { span: Span } =>
  Object.assign(controller.signal, { span: root })

/** What is told of a span: name, from, to, and how it went wrong. */
export const told = ({ name, startMs, endMs, errorType }: Span): readonly unknown[] => [name, startMs, endMs, errorType]
