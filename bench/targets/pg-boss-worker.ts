import Fastify from 'fastify'
import { PgBoss } from 'pg-boss'

/*
 * pg-boss as its documentation has it, with eight workers that do nothing, and a route that sends a job. Its jobs are found
 * as ours are: by notification, and by looking every half second, which is the least that it takes.
 */

const boss = new PgBoss({ connectionString: process.env.DATABASE_URL ?? '', useListenNotify: true, max: 16 })
boss.on('error', () => undefined)
await boss.start()
if ((await boss.getQueue('bench')) === null) await boss.createQueue('bench', { notify: true })
for (let index = 0; index < 8; index += 1) {
  await boss.work('bench', { pollingIntervalSeconds: 0.5, notifyPollingIntervalSeconds: 0.5 }, async () => {})
}
const app = Fastify()
app.put<{ Params: { id: string } }>('/jobs/:id', async (request, reply) => {
  await boss.send('bench', { operationId: request.params.id })
  return reply.code(202).send({ operation: request.params.id })
})
app.addHook('onClose', () => boss.stop({ graceful: false }))
process.once('SIGTERM', () => app.close())
process.stdout.write(`${await app.listen({ host: '127.0.0.1', port: 0 })}\n`)
