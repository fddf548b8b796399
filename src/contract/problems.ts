/**
 * Every answer outside 2xx that the service gives on purpose: its code, HTTP status and title (RFC 9457). The code is
 * the last part of the problem's `type`; the detail says what this occurrence is about.
 */
export const problems = {
  'invalid-request': { status: 400, title: 'The request has mistakes' },
  'malformed-request': { status: 400, title: 'The request cannot be read' },
  unauthorized: { status: 401, title: 'A valid token is needed' },
  'not-found': { status: 404, title: 'Nothing is here' },
  'method-not-allowed': { status: 405, title: 'This resource does not have that method' },
  'not-acceptable': { status: 406, title: 'No representation fits' },
  'request-timeout': { status: 408, title: 'The request took too long to arrive' },
  conflict: { status: 409, title: 'The request conflicts with the resource as it is' },
  'precondition-failed': { status: 412, title: 'The resource has changed since it was read' },
  'body-too-large': { status: 413, title: 'The body is larger than accepted' },
  'uri-too-long': { status: 414, title: 'The request target is longer than accepted' },
  'unsupported-media-type': { status: 415, title: 'The body is of a type that is not read here' },
  'range-not-satisfiable': { status: 416, title: 'The range is not within the content' },
  'expectation-failed': { status: 417, title: 'The expectation cannot be met' },
  'idempotency-key-reused': { status: 422, title: 'This key was used for another request' },
  'precondition-required': { status: 428, title: 'Say which version is to be changed' },
  'rate-limited': { status: 429, title: 'This client has used up its share' },
  'headers-too-large': { status: 431, title: 'The request line and headers are larger than accepted' },
  'client-closed-request': { status: 499, title: 'The client went away' },
  'internal-error': { status: 500, title: 'Something failed that should not' },
  'not-implemented': { status: 501, title: 'This method is not known here' },
  'upstreams-failed': { status: 502, title: 'No upstream gave an answer' },
  overloaded: { status: 503, title: 'More requests than can be served' },
  draining: { status: 503, title: 'The service is going down' },
  'threads-busy': { status: 503, title: 'The thread queue is full' },
  'database-busy': { status: 503, title: 'No database connection became free in time' },
  'database-unavailable': { status: 503, title: 'The database does not answer' },
  'database-not-configured': { status: 503, title: 'The service runs without a database' },
  'rate-limit-unavailable': { status: 503, title: 'The store of rate limits does not answer' },
  'cache-unavailable': { status: 503, title: 'The shared cache does not answer' },
  'storage-unavailable': { status: 503, title: 'The storage of uploads does not answer' },
  'faults-not-configured': { status: 503, title: 'Faults need a token' },
  'injected-fault': { status: 503, title: 'A fault was asked for on the admin port' },
  'deadline-exceeded': { status: 504, title: 'The work was not done in time' },
} as const satisfies Record<string, { status: number; title: string }>

/** The name of a problem in the registry. */
export type ProblemCode = keyof typeof problems
