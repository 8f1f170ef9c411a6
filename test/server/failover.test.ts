import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { bindBody, ids, newEncryptionKeys, provisionBody, testCatalog } from '../helper/app.ts'
import { startReplication } from '../helper/replication.ts'
import { type Answer, platformOf, query, scene, until } from './broker-process.ts'

const userpass = 'platform:failover-password'
const path = (id: string) => `/v2/service_instances/${id}`
const CLIENTS = 12

test('osb serve: the primary killed under load and the standby promoted, nothing that was acknowledged is lost', async (t) => {
  const { replication, primaryUrl, broker, call } = await deployment(t)
  const answers: Answer[] = []
  const acknowledged = new Set<string>()
  const finish = new AbortController()
  const load = Promise.all(
    Array.from({ length: CLIENTS }, async (_, client) => {
      for (let count = 0; !finish.signal.aborted; count += 1) {
        const id = `load-${client}-${count}`
        await until(
          `${id} is made`,
          async () => {
            const answer = client % 2 === 0 ? await provision(call, id) : await provisionAsynchronously(call, id)
            answers.push(answer)
            if (answer.status === 201 || answer.status === 200) acknowledged.add(id)
            return acknowledged.has(id)
          },
          90_000
        )
      }
    })
  )
  try {
    await until('many are made', () => acknowledged.size >= 5 * CLIENTS, 60_000)
    await replication.killPrimary()
    await until('requests fail', () => answers.filter(({ status }) => status === 503).length >= CLIENTS)
    const before = acknowledged.size
    await replication.promote()
    await until('others are made', () => acknowledged.size >= before + 5 * CLIENTS, 60_000)
  } finally {
    finish.abort()
    await load
  }
  assert.ok(broker.running, 'the broker was not restarted')
  assert.equal((await call('GET', '/readyz')).status, 200)
  for (const answer of answers) requireGood(answer)
  const rows = await query(primaryUrl(), `SELECT instance_id FROM osb.service_instances WHERE status = 'ready'`)
  const stored = new Set(rows.map((row) => row.instance_id))
  assert.deepEqual(
    [...acknowledged].filter((id) => !stored.has(id)),
    []
  )
  for (const id of acknowledged) assert.equal((await call('GET', path(id))).status, 200, id)
})

test('osb serve: what the standby has not confirmed is neither acknowledged nor shown', async (t) => {
  const { replication, primaryUrl, call } = await deployment(t)
  assert.equal((await provision(call, 'before')).status, 201)
  replication.freezeStandby()
  const answers = await Promise.all([provision(call, 'during'), provisionAsynchronously(call, 'also-during')])
  for (const { status } of answers) assert.equal(status, 503)
  // The server answered COMMIT, and has it
  await until('it is on the primary', async () => {
    const rows = await query(primaryUrl(), `SELECT 1 FROM osb.service_instances WHERE instance_id = 'during'`)
    return rows.length === 1
  })
  for (const id of ['during', 'before']) assert.equal((await call('GET', path(id))).status, 503, id)
  assert.equal((await call('PUT', `${path('during')}/service_bindings/b`, bindBody(ids.plans.sync))).status, 503)

  replication.thawStandby()
  await until('it is made', async () => [200, 201].includes((await provision(call, 'during')).status))
  assert.equal((await call('GET', path('during'))).status, 200)
  // Now it is on both
  await replication.killPrimary()
  await replication.promote()
  await until('the broker is ready', async () => (await call('GET', '/readyz')).status === 200, 60_000)
  for (const id of ['during', 'before']) assert.equal((await call('GET', path(id))).status, 200, id)
})

type Call = ReturnType<typeof platformOf>

function provision(call: Call, id: string): Promise<Answer> {
  return call('PUT', path(id), provisionBody(ids.plans.sync))
}

/** Answers 200 when a poll has told that it succeeded, and otherwise what went wrong. */
async function provisionAsynchronously(call: Call, id: string): Promise<Answer> {
  const accepted = await call('PUT', `${path(id)}?accepts_incomplete=true`, provisionBody(ids.plans.async))
  if (accepted.status !== 202) return accepted
  for (;;) {
    const polled = await call('GET', `${path(id)}/last_operation?operation=${accepted.body.operation}`)
    if (polled.status !== 200 || polled.body.state === 'succeeded') return polled
    if (polled.body.state === 'failed') return { ...polled, status: 500 }
  }
}

/** A create whose answer was lost may still be at work, or being undone, when it is repeated. */
function requireGood({ status, headers, body }: Answer): void {
  if (status === 200 || status === 201) return
  if (status === 422) {
    assert.equal(body.error, 'ConcurrencyError')
    return
  }
  assert.equal(status, 503, JSON.stringify(body))
  assert.match(headers.get('retry-after') ?? '', /^[1-9]\d*$/)
}

/** Two servers, and a broker whose state is on them. */
async function deployment(t: TestContext) {
  const { dataDir, serve } = scene(t)
  const replication = await startReplication()
  t.after(() => replication.close())
  const url = await replication.createDatabase()
  const catalog = join(dataDir, 'catalog.json')
  writeFileSync(catalog, JSON.stringify(testCatalog()))
  const [username = '', password = ''] = userpass.split(':')
  const broker = await serve({
    BROKER_STORAGE: 'postgres',
    BROKER_USERNAME: username,
    BROKER_PASSWORD: password,
    BROKER_ENCRYPTION_KEYS: newEncryptionKeys(),
    BROKER_CATALOG_PATH: catalog,
    DATABASE_URL: url
  })
  const database = /\/([^/?]+)\?/.exec(url)?.[1] ?? ''
  /** Of the server that is the primary at the moment. */
  const primaryUrl = () => replication.primary.urlOf(database)
  return { replication, primaryUrl, broker, call: platformOf(broker, userpass) }
}
