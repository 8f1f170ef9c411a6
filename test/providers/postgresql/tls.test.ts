import assert from 'node:assert/strict'
import { chmodSync, chownSync, copyFileSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Client } from 'pg'
import { OwnServer } from './own-server.ts'
import { cleanUp, Instance, leftovers, scalar, setUp } from './support.ts'

const fixture = (name: string) => fileURLToPath(new URL(`../../fixtures/tls/${name}.pem`, import.meta.url))
/** Its certificate is for 127.0.0.1, and signed by itself. */
const server = new OwnServer()

before(async () => {
  await server.start()
  for (const name of ['cert', 'key']) {
    const file = join(server.clusterDir, `${name}.pem`)
    copyFileSync(fixture(name), file)
    const { uid, gid } = statSync(join(server.clusterDir, 'PG_VERSION'))
    chownSync(file, uid, gid)
    // As PostgreSQL wants its key
    chmodSync(file, 0o600)
  }
  await server.sql(`ALTER SYSTEM SET ssl_cert_file = 'cert.pem'`)
  await server.sql(`ALTER SYSTEM SET ssl_key_file = 'key.pem'`)
  await server.sql('ALTER SYSTEM SET ssl = on')
  await server.restart()
})
after(() => server.remove())

const verified = () => `${server.adminUrl}?sslmode=verify-full`

test('TLS: the broker’s sessions and a binding’s are encrypted, and the server is checked', async (t) => {
  const { provider } = await setUp(t, { url: server.adminUrl, adminUrl: verified(), caFile: fixture('cert') })
  const instance = new Instance(provider)
  instance.context = { platform: 'cloudfoundry' }
  await instance.provision()
  const { credentials = {} } = await instance.bind('b')
  assert.equal(credentials.sslmode, 'verify-full')
  assert.equal(credentials.sslrootcert, readFileSync(fixture('cert'), 'utf8'))
  assert.deepEqual(
    await server.sql(
      `SELECT bool_and(ssl) AS encrypted, count(*) > 0 AS any FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
      WHERE application_name LIKE 'osb%'`
    ),
    [{ encrypted: true, any: true }]
  )
  const { host, port, username, password, database, certificates } = credentials
  const client = new Client({
    host: String(host),
    port: Number(port),
    user: String(username),
    password: String(password),
    database: String(database),
    ssl: { ca: String(certificates) }
  })
  // The deprovision ends its session
  client.on('error', () => undefined)
  await client.connect()
  cleanUp(t, () => client.end())
  const pid = await scalar(client, 'SELECT pg_backend_pid()')
  assert.deepEqual(await server.sql('SELECT ssl FROM pg_stat_ssl WHERE pid = $1', [pid]), [{ ssl: true }])
  const { token } = instance
  await instance.deprovision()
  assert.deepEqual(await leftovers((await setUp(t, { url: server.adminUrl })).sql, token), [])
})

test('TLS: a server with an authority that is not the given one is told no password, and nothing is made', async (t) => {
  // No authority given: that of the system does not know this one
  const { provider, sql } = await setUp(t, { url: server.adminUrl, adminUrl: verified() })
  const before = await sql('SELECT count(*)::int AS count FROM pg_database')
  const instance = new Instance(provider)
  await assert.rejects(instance.provision(), (error) => {
    assert.ok(error instanceof Error)
    assert.doesNotMatch(`${error.message} ${error.cause}`, new RegExp(new URL(server.adminUrl).password))
    return true
  })
  assert.deepEqual(await sql('SELECT count(*)::int AS count FROM pg_database'), before)
})

test('TLS: without an authority bindings say require', async (t) => {
  const { provider } = await setUp(t, { url: server.adminUrl })
  const instance = new Instance(provider)
  await instance.provision()
  const { credentials = {} } = await instance.bind('b')
  assert.deepEqual([credentials.sslmode, credentials.certificates], ['require', undefined])
  await instance.deprovision()
})
