import { Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import type { ServiceProvider } from '../src/core/provider.ts'
import { documented } from './documented.ts'

export interface HealthRouteOptions {
  readonly providers: readonly ServiceProvider[]
}

const Health = Type.Object({ status: Type.String(), failing: Type.Optional(Type.Array(Type.String())) })

/** A probe gives up after a few seconds; it shall hear before that what does not answer. */
const CHECK_MS = 2_000

/**
 * `/healthz`: the process lives. `/readyz`: it can serve, its store and what executes operations and every provider work; not
 * while it stops. No authentication, no details that an attacker could use.
 */
export const healthRoutes: FastifyPluginAsync<HealthRouteOptions> = async (app, { providers }) => {
  const config = { osbPriority: 'probe' } as const
  app.get(
    '/healthz',
    { schema: { ...documented.alive, security: [], response: { 200: Health } }, config },
    async () => ({
      status: 'ok'
    })
  )

  const checks = new Map<string, () => Promise<void>>([
    ['store', boundedCheck(() => app.osbStorage.store.health())],
    [
      'operations',
      async () => {
        if (!app.osbLifecycle.ready) throw new Error('operations are not executed')
      }
    ],
    ...providers.map((provider) => [provider.name, boundedCheck(async () => provider.health?.())] as const)
  ])

  const schema = { ...documented.ready, security: [], response: { 200: Health, 503: Health } }
  app.get('/readyz', { schema, config }, async (request, reply) => {
    const names = [...checks.keys()]
    const results = await Promise.allSettled([...checks.values()].map((check) => check()))
    const failing = names.filter((_, index) => results[index]?.status === 'rejected')
    if (failing.length === 0) return { status: 'ok' }
    for (const [index, result] of results.entries()) {
      if (result.status === 'rejected') request.log.warn({ err: result.reason, check: names[index] }, 'not ready')
    }
    return reply.code(503).send({ status: 'not ready', failing })
  })
}

/**
 * A check that ends within {@link CHECK_MS}, and runs once at a time: probes that come together, or while an earlier check
 * still hangs, ask for no further one.
 */
function boundedCheck(check: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined
  return async () => {
    running ??= check().finally(() => {
      running = undefined
    })
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(() => late.reject(new Error(`no answer within ${CHECK_MS} ms`)), CHECK_MS)
    try {
      await Promise.race([running, late.promise])
    } finally {
      clearTimeout(timer)
    }
  }
}
