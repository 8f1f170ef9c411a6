import { createHash, timingSafeEqual } from 'node:crypto'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
// In an application of yours: from 'fastify-open-service-broker'
import { openServiceBroker, serverOptions } from '../../src/index.ts'

/** What the broker offers, to every platform. */
const catalog = {
  services: [
    {
      id: '5b6e2d1e-0a0f-4c0e-9d0a-2f9c8f6b7a10',
      name: 'examples',
      description: 'Nothing that is kept',
      bindable: true,
      instances_retrievable: true,
      'x-broker': { provider: 'example' },
      plans: [{ id: '9b3c7f7e-3d4e-4f59-8d0c-6f7b8a9c0d21', name: 'only', description: 'The only one' }]
    }
  ]
}

/**
 * An application that authenticates by itself, here with a token for each platform: the broker asks it whose a request is,
 * and shows each platform its own instances alone. Requests that are nobody's are answered 401.
 */
export async function buildApp(tokens: Readonly<Record<string, string>>): Promise<FastifyInstance> {
  const app = Fastify({ ...serverOptions })
  app.get('/', async () => ({ hello: 'world' }))

  const known = Object.entries(tokens).map(([platform, token]) => ({ platform, expected: digest(`Bearer ${token}`) }))
  const platformOf = ({ headers }: FastifyRequest): string | undefined => {
    const given = digest(headers.authorization ?? '')
    return known.find(({ expected }) => timingSafeEqual(expected, given))?.platform
  }
  await app.register(openServiceBroker, { prefix: '/osb', catalog, auth: platformOf, store: 'memory' })
  return app
}

/** Of one length, so that they can be compared in constant time. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
