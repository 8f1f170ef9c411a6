// Whether the broker in this container lives. Much smaller than the program, since it is started every few seconds.
import { get } from 'node:http'

const port = process.env.BROKER_PORT || '8080'
const request = get({ host: '127.0.0.1', port, path: '/healthz', timeout: 2_500 }, (reply) => {
  reply.resume()
  process.exitCode = reply.statusCode === 200 ? 0 : 1
  if (process.exitCode === 1) console.error(`GET /healthz answered ${reply.statusCode}`)
})
request.on('timeout', () => request.destroy(new Error('no answer within 2.5 s')))
request.on('error', ({ message }) => {
  console.error(`GET /healthz: ${message}`)
  process.exitCode = 1
})
