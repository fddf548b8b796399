import pg from 'pg'

/** What a connected client of pg knows of its server; its types leave half of it out. */
export type Backend = {
  readonly host: string
  readonly port: number
  readonly ssl: unknown
  readonly sslNegotiation: string
  readonly processID: number
  readonly secretKey: number
}

/** The part of pg's connection that its types leave out. */
type Wire = {
  connect(port: number, host: string): void
  connect(path: string): void
  requestSsl(): void
  cancel(processId: number, secretKey: number): void
  readonly stream: { destroy(): void }
}

const patienceMs = 1_000

/**
 * Asks a server to cancel what one of its processes is at: a CancelRequest, on a connection of its own. That takes neither
 * a login nor one of the server's connection slots, and no connection of ours, which may all be stuck.
 *
 * Resolves when the server has passed the request on, which is no promise that it hits something. Resolves as well
 * when the server could not be reached within a second: who asked looks whether it has helped, and can ask again.
 *
 * https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS
 */
export const requestCancel = ({ host, port, ssl, sslNegotiation, processID, secretKey }: Backend): Promise<void> =>
  new Promise((resolve) => {
    const connection = new pg.Connection({ ssl, sslNegotiation } as pg.ConnectionConfig)
    const wire = connection as unknown as Wire
    const timer = setTimeout(() => wire.stream.destroy(), patienceMs)
    // The connection ends after an error, too.
    connection.on('error', () => {})
    connection.once('end', () => {
      clearTimeout(timer)
      resolve()
    })
    const cancel = (): void => wire.cancel(processID, secretKey)
    if (!ssl) connection.once('connect', cancel)
    else {
      if (sslNegotiation !== 'direct') connection.once('connect', () => wire.requestSsl())
      connection.once('sslconnect', cancel)
    }
    if (host.startsWith('/')) wire.connect(`${host}/.s.PGSQL.${port}`)
    else wire.connect(port, host)
  })
