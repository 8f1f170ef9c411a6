import { createHash, timingSafeEqual } from 'node:crypto'
import Fastify, { type FastifyInstance, type FastifyPluginAsync } from 'fastify'
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
 * An application that authenticates by itself, here with a token for each platform. A broker that authenticates nobody
 * (`auth: false`) takes all who come in for one platform; so each platform has a broker with a store of its own, under
 * a prefix of its own: `https://your.host/cf-prod`.
 */
export async function buildApp(tokens: Readonly<Record<string, string>>): Promise<FastifyInstance> {
  const app = Fastify({ ...serverOptions })
  app.get('/', async () => ({ hello: 'world' }))

  for (const [platform, token] of Object.entries(tokens)) {
    const guarded: FastifyPluginAsync = async (scope) => {
      const expected = digest(`Bearer ${token}`)
      scope.addHook('onRequest', async (request, reply) => {
        if (timingSafeEqual(digest(request.headers.authorization ?? ''), expected)) return
        // Every answer that a platform gets is a JSON object.
        return reply.code(401).send({ description: 'The token is missing or wrong.' })
      })
      await scope.register(openServiceBroker, { prefix: `/${platform}`, catalog, auth: false, store: 'memory' })
    }
    await app.register(guarded)
  }
  return app
}

/** Of one length, so that they can be compared in constant time. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
