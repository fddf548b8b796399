import type { Span } from '../../kit/trace.ts'
import type { Outcome, Target } from './transport.ts'

/**
 * Begins the span of the n-th attempt (from 0) to call an upstream. Of its URL only host, port and path are told: user,
 * password and query may be secret. https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client-span
 */
export const attemptSpan = (parent: Span, upstream: string, { origin, path }: Target, resends: number): Span => {
  const { hostname, port, protocol } = new URL(origin)
  const span = parent.child('GET', 'client')
  span.attributes = {
    'http.request.method': 'GET',
    'server.address': hostname,
    'server.port': Number(port) || defaultPorts[protocol as keyof typeof defaultPorts],
    'url.path': path.split('?', 1)[0]!,
    'plimsoll.upstream': upstream,
    ...(resends > 0 && { 'http.request.resend_count': resends }),
  }
  return span
}

const defaultPorts = { 'http:': 80, 'https:': 443 } as const

/** Ends it with what came of the attempt; undefined: it was given up. */
export const endAttemptSpan = (span: Span, outcome: Outcome | undefined, errorType: string): void => {
  if (outcome?.kind === 'answer') span.set('http.response.status_code', outcome.status)
  span.end(errorType === '' ? undefined : errorType)
}
