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

test('osb postgresql audit: what both sides agree on ends with 0, what differs with 1, and --repair heals', async (t) => {
  const { adminUrl, variables } = await environment()
  const { serve } = scene(t)
  const call = platformOf(await serve(variables), 'platform:secret')
  const body = { ...shipped, organization_guid: 'org', space_guid: 'space' }
  const credentials: Record<string, string>[] = []
  for (const id of ['i-1', 'i-2']) {
    assert.equal((await call('PUT', `/v2/service_instances/${id}`, body)).status, 201)
    const bound = await call('PUT', `/v2/service_instances/${id}/service_bindings/b-1`, shipped)
    assert.equal(bound.status, 201)
    credentials.push(bound.body.credentials)
  }
  const agreed = await audit(t, variables)
  assert.deepEqual(agreed, { code: 0, stdout: '', stderr: 'nothing found\n' })

  const [lost, changed] = credentials
  const foreign = `osb_d_${'a'.repeat(20)}`
  await query(adminUrl, `DROP DATABASE ${lost?.database} WITH (FORCE)`)
  await query(adminUrl, `CREATE DATABASE ${foreign} TEMPLATE template0`)
  await query(adminUrl, `ALTER ROLE ${changed?.username} CREATEROLE`)
  const differing = await audit(t, variables)
  const lines = [
    `-\tdatabase ${foreign}\tis unknown to the broker\t-`,
    `i-1\tdatabase ${lost?.database}\tis not there\t-`,
    `i-2\trole ${changed?.username}\thas got CREATEROLE\t-`
  ]
  assert.deepEqual(differing.stdout.trimEnd().split('\n').sort(), lines)
  assert.deepEqual([differing.code, differing.stderr], [1, '3 found\n'])

  const repaired = await audit(t, variables, '--repair', '--json')
  assert.deepEqual([repaired.code, repaired.stderr], [1, '3 found, 1 healed\n'])
  const objects = repaired.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  assert.deepEqual(
    objects.filter(({ healed }) => healed),
    [{ instance_id: 'i-2', resource: `role ${changed?.username}`, finding: 'has got CREATEROLE', healed: true }]
  )
  await query(adminUrl, `DROP DATABASE ${foreign}`)
  assert.equal((await audit(t, variables)).stdout, `${lines[1]}\n`)
})

test("osb postgresql: another word, or an environment that is not the broker's, ends with 1 and says what to do", async (t) => {
  const { variables } = await environment()
  const memory = await audit(t, { ...variables, BROKER_STORAGE: 'memory' })
  assert.deepEqual([memory.code, memory.stdout], [1, ''])
  assert.match(memory.stderr, /^osb postgresql audit needs BROKER_STORAGE=postgres[^\n]*\n$/)
  const { POSTGRESQL_ADMIN_URL: _unset, ...without } = variables
  const noServer = await audit(t, without)
  assert.equal(noServer.code, 1)
  assert.match(noServer.stderr, /^Set POSTGRESQL_ADMIN_URL [^\n]*\n$/)
  const other = scene(t).run(['postgresql', 'tidy'], variables)
  assert.equal((await other.ended).code, 1)
  assert.equal(other.stderr, 'There is no "osb postgresql tidy". There is: osb postgresql audit.\n')
})

async function audit(t: TestContext, variables: Readonly<Record<string, string>>, ...options: string[]) {
  const program = scene(t).run(['postgresql', 'audit', ...options], variables)
  const { code } = await program.ended
  return { code, stdout: program.stdout, stderr: program.stderr }
}
