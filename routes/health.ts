import { Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import type { ServiceProvider } from '../src/core/provider.ts'
import { documented } from './documented.ts'

export interface HealthRouteOptions {
  readonly providers: readonly ServiceProvider[]
}

const Health = Type.Object({ status: Type.String(), failing: Type.Optional(Type.Array(Type.String())) })

/** `/healthz`: the process lives. `/readyz`: it can serve. No authentication, no details that an attacker could use. */
export const healthRoutes: FastifyPluginAsync<HealthRouteOptions> = async (app, { providers }) => {
  app.get(
    '/healthz',
    { schema: { ...documented.alive, security: [], response: { 200: Health } }, logLevel: 'warn' },
    async () => ({ status: 'ok' })
  )

  const schema = { ...documented.ready, security: [], response: { 200: Health, 503: Health } }
  app.get('/readyz', { schema, logLevel: 'warn' }, async (request, reply) => {
    const checks: Record<string, () => Promise<void> | void> = {
      store: () => app.osbStorage.store.health(),
      operations: () => {
        if (!app.osbLifecycle.ready) throw new Error('operations are not executed yet')
      }
    }
    for (const provider of providers) checks[provider.name] = () => provider.health?.()
    const names = Object.keys(checks)
    const results = await Promise.allSettled(names.map(async (name) => checks[name]?.()))
    const failing = names.filter((_, index) => results[index]?.status === 'rejected')
    if (failing.length === 0) return { status: 'ok' }
    for (const result of results) {
      if (result.status === 'rejected') request.log.warn({ err: result.reason }, 'not ready')
    }
    return reply.code(503).send({ status: 'not ready', failing })
  })
}
