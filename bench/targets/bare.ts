import Fastify from 'fastify'
import { Pool } from 'pg'
import { ProvisionRequest } from '../../schemas/service-instance.ts'

/*
 * What the least code does that answers the same: plain Fastify routes, without authentication, version check, audit, or any
 * thought of what happens when two of them meet. Prints its address.
 */

const app = Fastify()
const { BENCH_CATALOG = '{}', DATABASE_URL } = process.env
const served: unknown = JSON.parse(BENCH_CATALOG)
app.get('/catalog', async () => served)

const instances = new Map<string, unknown>()
app.put<{ Params: { id: string } }>('/map/:id', { schema: { body: ProvisionRequest } }, async (request, reply) => {
  instances.set(request.params.id, request.body)
  return reply.code(201).send({})
})

if (DATABASE_URL !== undefined) {
  // As many connections as the broker's pool has
  const pool = new Pool({ connectionString: DATABASE_URL, max: 16 })
  await pool.query(`CREATE TABLE IF NOT EXISTS bare (
    id text PRIMARY KEY, service_id text NOT NULL, plan_id text NOT NULL, body jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
  )`)
  await pool.query(`INSERT INTO bare SELECT 'row-' || n, 's', 'p', '{}' FROM generate_series(1, 1000) AS n
    ON CONFLICT DO NOTHING`)
  app.get<{ Params: { id: string } }>('/select/:id', async (request) => {
    const { rows } = await pool.query('SELECT id, service_id, plan_id, body, created_at FROM bare WHERE id = $1', [
      request.params.id
    ])
    return rows[0]
  })
  app.put<{ Params: { id: string }; Body: ProvisionRequest }>(
    '/insert/:id',
    { schema: { body: ProvisionRequest } },
    async (request, reply) => {
      const { service_id, plan_id } = request.body
      await pool.query('INSERT INTO bare (id, service_id, plan_id, body) VALUES ($1, $2, $3, $4)', [
        request.params.id,
        service_id,
        plan_id,
        request.body
      ])
      return reply.code(201).send({})
    }
  )
  app.addHook('onClose', () => pool.end())
}
process.once('SIGTERM', () => app.close())
process.stdout.write(`${await app.listen({ host: '127.0.0.1', port: 0 })}\n`)
