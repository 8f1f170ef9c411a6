// Whether the broker in this container lives. Much smaller than the program, since it is started every few seconds.
import http from 'node:http'
import https from 'node:https'

const { env } = process
const anyAddress = ['0.0.0.0', '::']
const given = env.OTEL_EXPORTER_PROMETHEUS_HOST || '127.0.0.1'
// A flood of the platforms' port does not reach the health listener, so that it does not restart the container.
const listener = {
  host: anyAddress.includes(given) ? '127.0.0.1' : given,
  port: env.OTEL_EXPORTER_PROMETHEUS_PORT || '9464'
}
// It asks itself, by an address that no certificate names.
const main = { host: '127.0.0.1', port: env.BROKER_PORT || '8080', rejectUnauthorized: false }
const hasListener = env.BROKER_HEALTH_LISTENER === 'on'
const { get } = !hasListener && env.BROKER_TLS_CERT ? https : http
const request = get({ ...(hasListener ? listener : main), path: '/healthz', timeout: 2_500 }, (reply) => {
  reply.resume()
  process.exitCode = reply.statusCode === 200 ? 0 : 1
  if (process.exitCode === 1) console.error(`GET /healthz answered ${reply.statusCode}`)
})
request.on('timeout', () => request.destroy(new Error('no answer within 2.5 s')))
request.on('error', ({ message }) => {
  console.error(`GET /healthz: ${message}`)
  process.exitCode = 1
})
