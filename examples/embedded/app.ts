import Fastify, { type FastifyInstance } from 'fastify'
// In an application of yours: from 'fastify-open-service-broker'
import { openServiceBroker, serverOptions } from '../../src/index.ts'
import { keyProvider } from './key-provider.ts'
import { Keyring } from './keyring.ts'

export interface ExampleOptions {
  /** Basic credentials of the platform. */
  readonly auth: { readonly username: string; readonly password: string }
  /** Where applications find this one. */
  readonly baseUrl: string
}

/** What the broker offers: keys to the application around it. */
const catalog = {
  services: [
    {
      id: '0c4a7c9e-51c8-4a5b-9d6a-2f6a1f3a8b10',
      name: 'keys',
      description: 'Keys to this application',
      bindable: true,
      bindings_retrievable: true,
      instances_retrievable: true,
      plan_updateable: true,
      'x-broker': { provider: 'keys' },
      plans: [
        { id: '6d0e3b52-3b0e-4f0c-8f39-6d3a4f2b7c21', name: 'two', description: 'Two keys' },
        {
          id: 'a2f0c8d4-7e55-4b7f-9c1d-1e8b5a6d4f32',
          name: 'many',
          description: 'A hundred keys',
          'x-broker': { options: { max_keys: 100 } }
        }
      ]
    }
  ]
}

/** An application with routes of its own, and the broker under `/osb`. */
export async function buildApp({ auth, baseUrl }: ExampleOptions): Promise<FastifyInstance> {
  const keyring = new Keyring()
  const app = Fastify({ ...serverOptions })

  app.get('/', async () => ({ hello: 'world' }))
  app.get('/whoami', async (request, reply) => {
    const key = request.headers['x-api-key']
    const owner = typeof key === 'string' ? keyring.ownerOf(key) : undefined
    return owner === undefined ? reply.code(401).send({ error: 'no such key' }) : { space: owner.space }
  })

  // The keyring is in memory, and so is the broker's state: both are gone together.
  await app.register(openServiceBroker, {
    prefix: '/osb',
    catalog,
    auth,
    providers: [keyProvider(keyring, baseUrl)],
    store: 'memory'
  })
  return app
}
