/**
 * Peer: bare node:http, the ceiling of /json and of waiting. It sends the bytes that Plimsoll sends and does nothing
 * else. CommonJS and plain JavaScript on purpose, because the start row times it: stripping types costs some
 * milliseconds, and `import 'node:http'` some 30, as it touches every export and so loads fetch and WebSocket.
 */
const { createServer } = require('node:http')

const headers = (length) => [
  'Content-Type',
  'application/json',
  'Content-Length',
  String(length),
  'Server',
  'plimsoll',
  'Plimsoll-Instance',
  process.env.INSTANCE,
]

const send = (response, value) => {
  const body = JSON.stringify(value)
  response.writeHead(200, headers(Buffer.byteLength(body)))
  response.end(body)
}

const wait = (response, search) => {
  const ms = Number(new URLSearchParams(search).get('ms'))
  setTimeout(send, ms, response, { ms })
}

const server = createServer((request, response) => {
  const { url } = request
  if (url === '/json') send(response, { message: 'Hello, World!' })
  else if (url.startsWith('/work/wait?')) wait(response, url.slice(url.indexOf('?')))
  else response.writeHead(404).end()
})

server.keepAliveTimeout = 65_000
server.listen({ port: Number(process.env.PORT), host: process.env.HOST, backlog: 4096 })
