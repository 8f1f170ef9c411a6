import { createHash, timingSafeEqual } from 'node:crypto'
import { type Static, Type } from '@sinclair/typebox'
import Fastify, { type FastifyInstance, type FastifyPluginAsync } from 'fastify'

const Space = Type.Object({ max_keys: Type.Integer({ minimum: 1 }) }, { additionalProperties: false })
const Key = Type.Object({ key: Type.String({ minLength: 20 }) }, { additionalProperties: false })
const Params = Type.Object({ space: Type.String(), id: Type.String() })
type Params = Static<typeof Params>

/** A space, and the digests of its keys by their ids. */
interface Entry {
  maxKeys: number
  readonly keys: Map<string, string>
}

/**
 * The service that is sold: keys, each to one space. It stands in for one of yours, and knows nothing of brokers. A PUT may be
 * repeated, a DELETE of what is gone is 404, and `GET /whoami` with `x-api-key` tells the space that a key opens.
 */
export async function buildKeyServer(token: string): Promise<FastifyInstance> {
  const spaces = new Map<string, Entry>()
  const app = Fastify()

  app.get('/whoami', async (request, reply) => {
    const given = digest(String(request.headers['x-api-key']))
    const found = [...spaces].find(([, { keys }]) => [...keys.values()].includes(given))
    return found === undefined ? reply.code(401).send({ error: 'no such key' }) : { space: found[0] }
  })

  const administration: FastifyPluginAsync = async (admin) => {
    const expected = digest(`Bearer ${token}`)
    admin.addHook('onRequest', async (request, reply) => {
      const given = digest(request.headers.authorization ?? '')
      if (timingSafeEqual(Buffer.from(given), Buffer.from(expected))) return
      return reply.code(401).send({ error: 'not the administrator' })
    })

    admin.get('/spaces', async () => [...spaces].map(([space, { keys }]) => ({ space, keys: [...keys.keys()] })))

    admin.put<{ Params: Params; Body: Static<typeof Space> }>(
      '/spaces/:space',
      { schema: { body: Space } },
      async (request) => {
        const entry = spaces.get(request.params.space) ?? { maxKeys: 0, keys: new Map() }
        entry.maxKeys = request.body.max_keys
        spaces.set(request.params.space, entry)
        return {}
      }
    )

    admin.delete<{ Params: Params }>('/spaces/:space', async (request, reply) =>
      reply.code(spaces.delete(request.params.space) ? 200 : 404).send({})
    )

    admin.put<{ Params: Params; Body: Static<typeof Key> }>(
      '/spaces/:space/keys/:id',
      { schema: { body: Key } },
      async ({ params, body }, reply) => {
        const entry = spaces.get(params.space)
        if (entry === undefined) return reply.code(404).send({ error: 'no such space' })
        if (!entry.keys.has(params.id) && entry.keys.size >= entry.maxKeys) {
          return reply.code(409).send({ error: 'no more keys' })
        }
        entry.keys.set(params.id, digest(body.key))
        return {}
      }
    )

    admin.delete<{ Params: Params }>('/spaces/:space/keys/:id', async ({ params }, reply) =>
      reply.code(spaces.get(params.space)?.keys.delete(params.id) === true ? 200 : 404).send({})
    )
  }
  await app.register(administration)
  return app
}

/** Looking up a digest says nothing about how much of a guessed key was right. */
function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}
