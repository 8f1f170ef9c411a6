import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Client } from 'pg'
import { Unavailable } from '../../../src/core/provider.ts'
import { ServerUnfit } from '../../../src/providers/postgresql/faults.ts'
import { postgresqlProvider } from '../../../src/providers/postgresql/index.ts'
import { cleanUp, connect, Instance, leftovers, scalar, setUp, superuserUrl } from './support.ts'

const group = 'osb_broker_test'

/** A group with two logins, as `docs/postgresql.md` has it, without any right of their own. */
async function scene(t: Parameters<typeof setUp>[0]) {
  const { sql } = await setUp(t)
  await sql('REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC')
  await sql(`CREATE ROLE ${group} NOLOGIN CREATEDB CREATEROLE`)
  cleanUp(t, () => sql(`DROP OWNED BY ${group}; DROP ROLE ${group}`))
  await sql(`GRANT CONNECT ON DATABASE postgres TO ${group}; GRANT pg_signal_backend TO ${group}`)
  const [tenants] = await sql(`SELECT FROM pg_roles WHERE rolname = 'osb_tenant'`)
  if (tenants !== undefined) await sql(`GRANT osb_tenant TO ${group} WITH ADMIN OPTION`)
  const url = new URL(await superuserUrl())
  const providerOf = async (login: string) => {
    await sql(`CREATE ROLE ${login} LOGIN PASSWORD 'p' IN ROLE ${group}`)
    cleanUp(t, () => sql(`DROP ROLE IF EXISTS ${login}`))
    const adminUrl = Object.assign(new URL(url), { username: login, password: 'p' }).href
    const provider = postgresqlProvider({ adminUrl, adminRole: group })
    cleanUp(t, () => provider.stop?.())
    return { provider, adminUrl }
  }
  return { sql, url, providerOf }
}

test('admin role: a second login takes over every operation when the first is dropped [row 31]', async (t) => {
  const { sql, providerOf } = await scene(t)
  const { provider: first } = await providerOf('broker_2026')
  const instance = new Instance(first)
  await instance.provision()
  const owner = await connect(t, await instance.uri('a'))
  await owner.query('CREATE TABLE kept (id int); SET ROLE NONE; CREATE SCHEMA own; CREATE TABLE own.stray (id int)')
  assert.deepEqual(
    await sql('SELECT pg_get_userbyid(datdba) AS admin FROM pg_database WHERE datname = $1', [instance.database]),
    [{ admin: group }]
  )
  await first.stop?.()
  await sql(`SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE usename = 'broker_2026'`)
  await sql('DROP ROLE broker_2026')

  const { provider: second } = await providerOf('broker_2027')
  const taken = new Instance(second)
  for (const [id, state] of instance.states) taken.states.set(id === instance.id ? taken.id : id, state)
  taken.options = { storage_quota: '1GB' }
  assert.deepEqual(
    (await taken.repair()).map(({ finding, healed }) => [finding, healed]),
    [[`has objects of osb_b_${instance.token}_${instance.states.get('a')?.suffix}`, true]]
  )
  const other = await connect(t, await taken.uri('b'))
  assert.equal(await scalar(other, 'SELECT count(*)::int FROM own.stray'), 0)
  await taken.update({ connection_limit: 4 })
  await taken.unbind('a')
  await other.query('DROP TABLE kept; DROP TABLE own.stray; DROP SCHEMA own')
  taken.options = { storage_quota: '1MB' }
  await taken.watch()
  await assert.rejects(other.query('SELECT 1'))
  await taken.deprovision()
  assert.deepEqual(await leftovers(sql, instance.token), [])
})

test('admin role: a session of a frozen worker with the earlier login is ended by the next attempt', async (t) => {
  const { providerOf } = await scene(t)
  const { adminUrl } = await providerOf('broker_2026')
  const { provider } = await providerOf('broker_2027')
  const instance = new Instance(provider)
  cleanUp(t, () => instance.deprovision())
  await instance.provision()
  const url = new URL(adminUrl)
  url.searchParams.set('application_name', `osb:${instance.token}`)
  const frozen = await connect(t, url.href)
  await instance.update({ connection_limit: 5 })
  await assert.rejects(frozen.query('SELECT 1'))
})

test('admin role: a group that is not there, or lacks a right, is told when the provider starts or works', async (t) => {
  const { sql, url } = await scene(t)
  await sql(`CREATE ROLE powerless NOLOGIN; GRANT CONNECT ON DATABASE postgres TO powerless`)
  cleanUp(t, () => sql('DROP OWNED BY powerless; DROP ROLE powerless'))
  await sql(`CREATE ROLE broker_login LOGIN PASSWORD 'p' IN ROLE powerless`)
  cleanUp(t, () => sql('DROP ROLE broker_login'))
  const adminUrl = Object.assign(new URL(url), { username: 'broker_login', password: 'p' }).href
  const powerless = postgresqlProvider({ adminUrl, adminRole: 'powerless' })
  cleanUp(t, () => powerless.stop?.())
  await assert.rejects(async () => powerless.start?.(), ServerUnfit)
  const absent = postgresqlProvider({ adminUrl, adminRole: 'nobody' })
  cleanUp(t, () => absent.stop?.())
  await assert.rejects(new Instance(absent).provision(), (error) => {
    return error instanceof Unavailable && /^The broker cannot log in to the database server\./.test(error.message)
  })
  await assert.rejects(new Client({ connectionString: adminUrl, options: '-c role=nobody' }).connect(), {
    code: '22023'
  })
})
