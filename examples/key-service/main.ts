// node examples/key-service/main.ts: the key service and a broker that sells it, each with a port of its own
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import Fastify from 'fastify'
// In a project of yours: from 'fastify-open-service-broker'
import { openServiceBroker, serverOptions } from '../../src/index.ts'
import { buildKeyServer } from './key-server.ts'
import { keyServiceProvider } from './provider.ts'

const { BROKER_USERNAME: username, BROKER_PASSWORD: password } = process.env
if (!username || !password) throw new Error('Set BROKER_USERNAME and BROKER_PASSWORD.')

const token = randomBytes(32).toString('base64url')
const keyServer = await buildKeyServer(token)
const url = await keyServer.listen({ host: '127.0.0.1', port: 0 })

const broker = Fastify({ ...serverOptions })
broker.addHook('onClose', () => keyServer.close())
// The key server is in memory, and so is the broker's state: both are gone together.
await broker.register(openServiceBroker, {
  catalog: join(import.meta.dirname, 'catalog.yaml'),
  auth: { username, password },
  providers: [keyServiceProvider({ url, token })],
  store: 'memory'
})
process.once('SIGTERM', () => void broker.close()).once('SIGINT', () => void broker.close())
console.log(
  `The broker listens on ${await broker.listen({ host: '127.0.0.1', port: 8080 })}, the key service on ${url}.`
)
