import Fastify from 'fastify'
import { PgBoss } from 'pg-boss'

/*
 * pg-boss with eight workers that do nothing, and a route that sends a job. Jobs are found as ours are: one at a time, by
 * notification, and at once where one was found. By itself it would wait half a second after each, which is the least that it
 * takes, and the figure would be that of waiting.
 */

const boss = new PgBoss({ connectionString: process.env.DATABASE_URL ?? '', useListenNotify: true, max: 16 })
boss.on('error', () => undefined)
await boss.start()
if ((await boss.getQueue('bench')) === null) await boss.createQueue('bench', { notify: true })
const workers: string[] = []
const wake = (index: number) => boss.notifyWorker(workers[index % workers.length] ?? '')
for (let index = 0; index < 8; index += 1) {
  const options = { pollingIntervalSeconds: 0.5, notifyPollingIntervalSeconds: 0.5 }
  workers.push(
    await boss.work('bench', options, async () => {
      wake(index)
      wake(index + 1)
    })
  )
}
const app = Fastify()
app.put<{ Params: { id: string } }>('/jobs/:id', async (request, reply) => {
  await boss.send('bench', { operationId: request.params.id })
  return reply.code(202).send({ operation: request.params.id })
})
app.addHook('onClose', () => boss.stop({ graceful: false }))
process.once('SIGTERM', () => app.close())
process.stdout.write(`${await app.listen({ host: '127.0.0.1', port: 0 })}\n`)
