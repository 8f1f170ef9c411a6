import Fastify from 'fastify'
import { openServiceBroker, serverOptions } from 'fastify-open-service-broker'
import { injectTransport, OsbClient } from 'fastify-open-service-broker/client'

const catalog = {
  services: [
    {
      id: 'offering-of-examples',
      name: 'examples',
      description: 'Nothing that is kept',
      bindable: true,
      plans: [{ id: 'plan-only', name: 'only', description: 'The only one' }]
    }
  ]
}
const auth = { username: 'platform', password: 'a password' }

const app = Fastify({ ...serverOptions })
await app.register(openServiceBroker, { prefix: '/osb', catalog, auth, defaultProvider: 'example' })
const unguarded = await app.inject('/osb/v2/catalog')

const { services } = await new OsbClient({ transport: injectTransport(app, '/osb'), ...auth }).catalog()
await app.close()

console.log(JSON.stringify({ unguarded: unguarded.statusCode, offered: services.map(({ name }) => name) }))
