// Whether the broker in this container lives. Much smaller than the program, since it is started every few seconds.
import http from 'node:http'
import https from 'node:https'

const port = process.env.BROKER_PORT || '8080'
// It asks itself, by an address that no certificate names.
const options = { host: '127.0.0.1', port, path: '/healthz', timeout: 2_500, rejectUnauthorized: false }
const { get } = process.env.BROKER_TLS_CERT ? https : http
const request = get(options, (reply) => {
  reply.resume()
  process.exitCode = reply.statusCode === 200 ? 0 : 1
  if (process.exitCode === 1) console.error(`GET /healthz answered ${reply.statusCode}`)
})
request.on('timeout', () => request.destroy(new Error('no answer within 2.5 s')))
request.on('error', ({ message }) => {
  console.error(`GET /healthz: ${message}`)
  process.exitCode = 1
})
