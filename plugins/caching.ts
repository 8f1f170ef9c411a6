import fp from 'fastify-plugin'

/**
 * No cache keeps an answer: it is one platform's alone, may hold credentials, and not every platform sends the
 * `Authorization` that would keep shared caches off (RFC 9111, 3.5 and 5.2.2.5). The catalog says otherwise for itself.
 */
export const caching = fp(
  async (app) => {
    app.addHook('onRequest', (_request, reply, done) => {
      reply.header('cache-control', 'no-store')
      done()
    })
  },
  { name: 'osb-caching', fastify: '5.x' }
)
