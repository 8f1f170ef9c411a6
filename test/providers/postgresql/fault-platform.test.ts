import assert from 'node:assert/strict'
import { after, before, type TestContext, test } from 'node:test'
import { Client } from 'pg'
import { postgresqlProvider } from '../../../src/providers/postgresql/index.ts'
import { bindBody, deleteQuery, ids, provisionBody } from '../../helper/app.ts'
import { until } from '../../helper/scripted-provider.ts'
import {
  ALSO_ASYNC,
  ASYNC,
  accepted,
  answered,
  catalogOf,
  credentialsOf,
  instancePath,
  onePlatform,
  type Platform,
  planOf,
  refused,
  succeeded
} from '../../routes/support.ts'
import { told } from './failures.ts'
import { OwnServer } from './own-server.ts'
import { cleanUp, connect, scalar } from './support.ts'

const server = new OwnServer()
const plan = ids.plans.either
const instance = instancePath('i-1')

before(() => server.start())
after(() => server.remove())

test('[row 1] PUT, DELETE instance: while the server is down are in progress and say why, then succeed', async (t) => {
  const { platform, provider } = await brokerAt(t)
  await server.stop(t)
  const create = accepted(await platform.provision('i-1', provisionBody(plan), ASYNC))
  await saysWhy(platform, create)
  await server.start()
  answered(await platform.ended(instance, create), 200, succeeded)
  const { uri } = credentialsOf(await platform.bind('i-1', 'b-1', bindBody(plan)), 201)
  const client = await connect(t, String(uri))
  assert.equal(await scalar(client, 'SELECT 1'), 1)

  await server.stop(t)
  const remove = accepted(await platform.deprovision('i-1', deleteQuery(plan, ALSO_ASYNC)))
  await saysWhy(platform, remove)
  await server.start()
  answered(await platform.ended(instance, remove), 200, succeeded)
  assert.deepEqual(await provider.inventory?.list(), [])
})

test('[row 3] PUT, DELETE: an admin that is locked out answers 503 with Retry-After, never 4xx', async (t) => {
  await server.sql(`CREATE ROLE locked_admin LOGIN SUPERUSER PASSWORD 'locked'`)
  cleanUp(t, () => server.sql('DROP OWNED BY locked_admin; DROP ROLE locked_admin'))
  const url = new URL(server.adminUrl)
  url.username = 'locked_admin'
  url.password = 'locked'
  const { platform, provider } = await brokerAt(t, { adminUrl: url.href, syncDeadlineMs: 3_000 })
  answered(await platform.provision('i-1', provisionBody(plan)), 201)
  credentialsOf(await platform.bind('i-1', 'b-1', bindBody(plan)), 201)
  answered(await platform.provision('i-3', provisionBody(plan)), 201)
  await server.sql('ALTER ROLE locked_admin NOLOGIN')
  await server.sql(`SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE usename = 'locked_admin'`)
  for (const reply of [
    await platform.provision('i-2', provisionBody(plan)),
    await platform.bind('i-1', 'b-2', bindBody(plan)),
    await platform.unbind('i-1', 'b-1', deleteQuery(plan)),
    await platform.deprovision('i-3', deleteQuery(plan))
  ]) {
    answered(reply, 503, { description: told.refused })
    assert.match(String(reply.headers['retry-after']), /^\d+$/)
  }
  // The unbind continues in the background.
  answered(await platform.deprovision('i-1', deleteQuery(plan)), 503)
  await server.sql('ALTER ROLE locked_admin LOGIN')
  answered(await platform.deprovision('i-1', deleteQuery(plan)), 200, {})
  await until('what was begun is undone', async () => (await provider.inventory?.list())?.length === 0)
})

test('[row 33] PUT instance: half-made when the time for tries is over has failed, and the delete leaves nothing', async (t) => {
  const { platform, provider } = await brokerAt(t, { seconds: 4 })
  const original = Client.prototype.query
  const mock = t.mock.method(Client.prototype, 'query', async function (this: Client, ...args: unknown[]) {
    const result: unknown = await Reflect.apply(original, this, args)
    if (String(args[0]).startsWith('CREATE DATABASE')) await server.stop(t)
    return result
  })
  const create = accepted(await platform.provision('i-1', provisionBody(plan), ASYNC))
  const end = answered(await platform.ended(instance, create), 200)
  assert.equal(end.state, 'failed')
  assert.match(String(end.description), /It was given up after \d attempts in [34] s\.$/)
  mock.mock.restore()
  await server.start()
  assert.equal((await provider.inventory?.list())?.length, 3)
  refused(await platform.bind('i-1', 'b-1', bindBody(plan)), 404, /"i-1"/)
  answered(await platform.deprovision('i-1', deleteQuery(plan)), 200, {})
  assert.deepEqual(await provider.inventory?.list(), [])
})

test('[row 1] PUT, DELETE: while the server is down answer 503 that says so when the time of the request is up', async (t) => {
  const { platform, provider } = await brokerAt(t, { syncDeadlineMs: 2_500 })
  answered(await platform.provision('i-1', provisionBody(plan)), 201)
  credentialsOf(await platform.bind('i-1', 'b-1', bindBody(plan)), 201)
  await server.stop(t)
  const replies = await Promise.all([
    platform.provision('i-2', provisionBody(plan)),
    platform.bind('i-1', 'b-2', bindBody(plan)),
    platform.bind('i-1', 'b-3', bindBody(plan)),
    platform.unbind('i-1', 'b-1', deleteQuery(plan))
  ])
  for (const reply of replies) {
    answered(reply, 503, { description: told.unreachable })
    assert.match(String(reply.headers['retry-after']), /^\d+$/)
  }
  await server.start()
  answered(await platform.unbind('i-1', 'b-1', deleteQuery(plan)), 200, {})
  answered(await platform.deprovision('i-1', deleteQuery(plan)), 200, {})
  await until('what was begun is undone', async () => (await provider.inventory?.list())?.length === 0, 60_000)
})

test('[row 33] PUT instance: given up within a try says why', async (t) => {
  const { platform } = await brokerAt(t, { seconds: 4 })
  await server.stop(t)
  const create = accepted(await platform.provision('i-1', provisionBody(plan), ASYNC))
  const { description } = answered(await platform.ended(instance, create), 200)
  assert.match(String(description), /^The database server cannot be reached at the moment\. It was given up after/)
})

/** A broker whose one plan is of the provider. */
async function brokerAt(
  t: TestContext,
  {
    adminUrl = server.adminUrl,
    syncDeadlineMs = 10_000,
    seconds = 60
  }: { adminUrl?: string; syncDeadlineMs?: number; seconds?: number } = {}
) {
  const provider = postgresqlProvider({ adminUrl })
  const only = planOf(plan, { mode: 'either' }, { maximum_polling_duration: seconds })
  const { services } = catalogOf([only], { 'x-broker': { provider: 'postgresql' } })
  const catalog = { services: services.slice(0, 1) }
  return { provider, platform: await onePlatform(t, { catalog, providers: [provider], syncDeadlineMs }) }
}

/** Waits until the operation is in progress and says that the server is away. */
async function saysWhy(platform: Platform, operation: string): Promise<void> {
  await until('it says why', async () => {
    const { state, description } = answered(await platform.poll(instance, operation), 200)
    assert.equal(state, 'in progress')
    return String(description).startsWith(told.unreachable)
  })
}
