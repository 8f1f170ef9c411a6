import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { newEncryptionKeys } from '../helper/app.ts'
import { testPostgres } from '../helper/postgres.ts'
import { platformOf, query, scene, shipped } from '../server/broker-process.ts'

const environment = async () => {
  const server = await testPostgres()
  return {
    adminUrl: server.adminUrl,
    variables: {
      BROKER_STORAGE: 'postgres',
      BROKER_USERNAME: 'platform',
      BROKER_PASSWORD: 'secret',
      BROKER_ENCRYPTION_KEYS: newEncryptionKeys(),
      DATABASE_URL: await server.createDatabase(),
      POSTGRESQL_ADMIN_URL: server.adminUrl
    }
  }
}

test('osb orphans: both sides agree ends with 0; a lost database and a foreign one end with 1 and are named', async (t) => {
  const { adminUrl, variables } = await environment()
  const { serve } = scene(t)
  const call = platformOf(await serve(variables), 'platform:secret')
  const body = { ...shipped, organization_guid: 'org', space_guid: 'space' }
  assert.equal((await call('PUT', '/v2/service_instances/i-1', body)).status, 201)
  const bound = await call('PUT', '/v2/service_instances/i-1/service_bindings/b-1', shipped)
  assert.equal(bound.status, 201)

  const agreed = await orphans(t, variables)
  assert.deepEqual(agreed, { code: 0, stdout: '', stderr: 'no orphans\n' })

  const { database, username } = bound.body.credentials
  const foreign = `osb_d_${'a'.repeat(20)}`
  await query(adminUrl, `DROP DATABASE ${database} WITH (FORCE)`)
  await query(adminUrl, `CREATE DATABASE ${foreign} TEMPLATE template0`)
  const differing = await orphans(t, variables)
  assert.equal(differing.code, 1)
  assert.equal(differing.stderr, '2 orphans\n')
  assert.deepEqual(differing.stdout.trimEnd().split('\n').sort(), [
    `outside\tdatabase ${foreign}\t-\t-`,
    `store\tdatabase ${database}\ti-1\t-`
  ])
  await query(adminUrl, `DROP DATABASE ${foreign}`)
  assert.match(username, /^osb_b_/)
})

test('osb orphans: without the environment of the broker ends with 1 and says what to set', async (t) => {
  const { variables } = await environment()
  const memory = await orphans(t, { ...variables, BROKER_STORAGE: 'memory' })
  assert.deepEqual([memory.code, memory.stdout], [1, ''])
  assert.match(memory.stderr, /^osb orphans needs BROKER_STORAGE=postgres[^\n]*\n$/)
  const { POSTGRESQL_ADMIN_URL: _unset, ...without } = variables
  const noServer = await orphans(t, without)
  assert.equal(noServer.code, 1)
  assert.match(noServer.stderr, /^Set POSTGRESQL_ADMIN_URL [^\n]*\n$/)
})

async function orphans(t: TestContext, variables: Readonly<Record<string, string>>) {
  const program = scene(t).run(['orphans'], variables)
  const { code } = await program.ended
  return { code, stdout: program.stdout, stderr: program.stderr }
}
