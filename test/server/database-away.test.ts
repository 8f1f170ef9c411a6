import assert from 'node:assert/strict'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { startEmbeddedPostgres } from '../../src/embedded-postgres/index.ts'
import { newEncryptionKeys } from '../helper/app.ts'
import { removeServer } from '../helper/postgres.ts'
import { type Answer, type Broker, platformOf, query, scene, shipped, until } from './broker-process.ts'

const userpass = 'platform:database-away-password'
const ids = shipped
const provision = { ...ids, organization_guid: 'org', space_guid: 'space' }
const clients = 20
/** How long the database stays away under load; `TEST_AWAY_MS=30000` for the long form. */
const awayMs = Number(process.env.TEST_AWAY_MS ?? 0)

test('osb serve: started without its database, it answers 503 until the database is there', async (t) => {
  const database = await databaseOf(t)
  await database.stop()
  const { broker, call } = await brokerOn(t, database)
  const instance = '/v2/service_instances/early'

  for (const [method, path, body] of [
    ['PUT', instance, provision],
    ['GET', instance, undefined],
    ['PUT', `${instance}?accepts_incomplete=true`, provision],
    ['PUT', `${instance}/service_bindings/b`, ids],
    ['GET', `${instance}/last_operation`, undefined],
    ['DELETE', `${instance}?service_id=${ids.service_id}&plan_id=${ids.plan_id}`, undefined]
  ] as const) {
    requireUnavailable(await call(method, path, body))
  }
  assert.equal((await call('GET', '/v2/catalog')).status, 200)
  const live = await call('GET', '/healthz')
  assert.equal(live.status, 200)
  assert.deepEqual(live.body, { status: 'ok' })
  const notReady = await call('GET', '/readyz')
  assert.equal(notReady.status, 503)
  assert.equal(notReady.body.status, 'not ready')
  assert.ok(notReady.body.failing.includes('store'))

  await database.start()
  await until('the broker is ready', async () => (await call('GET', '/readyz')).status === 200)
  assert.equal((await call('PUT', instance, provision)).status, 201)
  assert.equal((await call('GET', instance)).status, 200)
  assert.ok(broker.running)
})

test('osb serve: SIGTERM while its database is away ends with 0', async (t) => {
  const database = await databaseOf(t)
  await database.stop()
  const { broker, call } = await brokerOn(t, database)
  requireUnavailable(await call('GET', '/v2/service_instances/none'))
  broker.child.kill('SIGTERM')
  assert.deepEqual(await broker.ended, { code: 0, signal: null })
})

test('osb serve: its database stopped under load, it answers 503 and recovers; nothing is lost or doubled', async (t) => {
  const database = await databaseOf(t)
  const { broker, call } = await brokerOn(t, database)
  await until('the broker is ready', async () => (await call('GET', '/readyz')).status === 200)
  const answers: Answer[] = []
  const made = new Set<string>()
  const finish = new AbortController()

  const load = Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      for (let count = 0; !finish.signal.aborted; count += 1) {
        const id = `load-${client}-${count}`
        await until(
          `${id} is made`,
          async () => {
            const answer = await call('PUT', `/v2/service_instances/${id}`, provision)
            answers.push(answer)
            if (answer.status === 201 || answer.status === 200) made.add(id)
            return made.has(id)
          },
          awayMs + 40_000
        )
      }
    })
  )
  try {
    const failures = () => answers.filter(({ status }) => status === 503).length
    await until('some are made', () => made.size >= clients / 2)
    await database.stop()
    await until('requests fail', () => failures() >= clients)
    const before = made.size
    await delay(awayMs)
    await database.start()
    await until('others are made', () => made.size >= before + clients)
  } finally {
    finish.abort()
    await load
  }

  assert.ok(broker.running)
  assert.equal((await call('GET', '/readyz')).status, 200)
  // A create that was answered 503 may still be being undone when its client tries again.
  const beingUndone = ({ status, body }: Answer) => status === 422 && body.error === 'ConcurrencyError'
  // On a busy machine a real database may take longer than a request: 504.
  const others = answers.filter((answer) => ![200, 201, 503, 504].includes(answer.status) && !beingUndone(answer))
  assert.deepEqual(
    others.map(({ status, body }) => ({ status, body })),
    []
  )
  for (const answer of answers) if (answer.status === 503) requireUnavailable(answer)
  for (const id of made) assert.equal((await call('GET', `/v2/service_instances/${id}`)).status, 200, id)
  // What an answer 503 left behind is being undone in the background.
  await until('there is one database for each instance', async () => {
    const [row] = await query(database.adminUrl, `SELECT count(*)::int AS n FROM pg_database WHERE datname ~ '^osb_d_'`)
    return row?.n === made.size
  })
  const [records] = await query(
    database.url,
    `SELECT count(*)::int AS n, count(*) FILTER (WHERE status = 'ready')::int AS ready FROM osb.service_instances`
  )
  assert.deepEqual(records, { n: made.size, ready: made.size })
})

function requireUnavailable({ status, headers, body }: Answer): void {
  assert.equal(status, 503, JSON.stringify(body))
  assert.equal(typeof body.description, 'string')
  assert.match(headers.get('retry-after') ?? '', /^[1-9]\d*$/)
}

/** A server of its own with a database for a broker's state, to be stopped and started again on the same port. */
async function databaseOf(t: TestContext) {
  const dataDir = mkdtempSync(join(tmpdir(), 'osb-away-'))
  const settings = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }
  const start = () => startEmbeddedPostgres({ dataDir, settings, databases: ['state'] })
  let server = await start()
  let over = false
  t.after(async () => {
    over = true
    await server.stop()
    removeServer(dataDir)
  })
  return {
    url: server.urlOf('state'),
    adminUrl: server.adminUrl,
    stop: () => server.stop(),
    start: async () => {
      // A test that has failed meanwhile has cleared up already.
      if (over) throw new Error('the test is over')
      server = await start()
    }
  }
}

async function brokerOn(t: TestContext, { url, adminUrl }: { url: string; adminUrl: string }) {
  const [username = '', password = ''] = userpass.split(':')
  const { serve } = scene(t)
  const broker: Broker = await serve({
    BROKER_STORAGE: 'postgres',
    BROKER_USERNAME: username,
    BROKER_PASSWORD: password,
    BROKER_ENCRYPTION_KEYS: newEncryptionKeys(),
    DATABASE_URL: url,
    POSTGRESQL_ADMIN_URL: adminUrl
  })
  return { broker, call: platformOf(broker, userpass) }
}
