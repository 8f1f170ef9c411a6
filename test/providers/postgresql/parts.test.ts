import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Value } from '@sinclair/typebox/value'
import type { JsonObject } from '../../../schemas/common.ts'
import { AdminUrl } from '../../../src/providers/postgresql/admin-url.ts'
import { refuseUnfit } from '../../../src/providers/postgresql/bootstrap.ts'
import { describeBinding } from '../../../src/providers/postgresql/credentials.ts'
import { faultOf, ServerUnfit } from '../../../src/providers/postgresql/faults.ts'
import { instanceNames, newBindingState, newInstanceState } from '../../../src/providers/postgresql/names.ts'
import {
  lifetimeMs,
  planOptionFaults,
  planOptions,
  planOptionsSource,
  quotaBytes
} from '../../../src/providers/postgresql/plan-options.ts'
import { quoteIdentifier, quoteLiteral } from '../../../src/providers/postgresql/quoting.ts'
import { isSameVerifier, saltOf, scramVerifier } from '../../../src/providers/postgresql/scram.ts'
import { AdminServer } from '../../../src/providers/postgresql/server.ts'

test('quoting: a name or a value cannot end its quotes', () => {
  assert.equal(quoteIdentifier('a"; DROP'), '"a""; DROP"')
  assert.equal(quoteLiteral(`it's \\ x`), ` E'it''s \\\\ x'`)
  for (const name of ['', 'a\0b', 'x'.repeat(64)]) assert.throws(() => quoteIdentifier(name))
  assert.throws(() => quoteLiteral('a\0b'))
})

test('scram: a verifier has the form that PostgreSQL takes, and a salt of its own', async () => {
  const [one, two] = [await scramVerifier('secret'), await scramVerifier('secret')]
  assert.match(one, /^SCRAM-SHA-256\$4096:[A-Za-z0-9+/]{22}==\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$/)
  assert.notEqual(one, two)
  assert.deepEqual(
    [isSameVerifier(one, one), isSameVerifier(one, two), isSameVerifier('md5abc', one)],
    [true, false, false]
  )
  assert.equal(saltOf(one), one.split(/[:$]/)[2])
  assert.equal(saltOf('md5abc'), undefined)
})

test('names: tokens fill the alphabet, and nothing is longer than PostgreSQL takes', () => {
  const { token } = newInstanceState()
  assert.match(token, /^[a-z2-7]{20}$/)
  const names = instanceNames({ token })
  assert.deepEqual(names, {
    token,
    database: `osb_d_${token}`,
    owner: `osb_o_${token}`,
    reader: `osb_r_${token}`,
    loginPrefix: `osb_b_${token}_`
  })
})

test('options: defaults fill in, and what is unknown or misshapen is refused', () => {
  assert.deepEqual(planOptions({ work_mem: '8MB' }), {
    connection_limit: 10,
    database_connection_limit: 20,
    statement_timeout: '0',
    idle_in_transaction_session_timeout: '60s',
    work_mem: '8MB',
    lock_limit: 4000,
    extensions: []
  })
  for (const wrong of [
    { connection_limit: 0 },
    { database_connection_limit: 20001 },
    { statement_timeout: '5 minutes' },
    { work_mem: '4mb' },
    { storage_quota: '5' },
    { binding_lifetime: '0d' },
    { servers: [] },
    { other: 1 }
  ]) {
    assert.equal(Value.Check(planOptionsSource(['default']), wrong), false)
    assert.throws(() => planOptions(wrong))
  }
  assert.equal(Value.Check(planOptionsSource(['blue']), { servers: ['green'] }), false)
  // As the catalog hands them out
  assert.deepEqual(planOptions(Object.freeze({ extensions: Object.freeze(['citext']) })).extensions, ['citext'])
})

test('options: a database has room for two bindings unless the plan says otherwise, and never for less than one', () => {
  const limitOf = (options: JsonObject) => planOptions(options).database_connection_limit
  assert.deepEqual(
    [{ connection_limit: 7 }, { connection_limit: 10_000 }, { connection_limit: 7, database_connection_limit: 7 }].map(
      limitOf
    ),
    [14, 20_000, 7]
  )
  const message = 'must be at least 7, the connection_limit of each binding, not 6'
  assert.deepEqual(planOptionFaults({ connection_limit: 7, database_connection_limit: 6 }), [
    { option: 'database_connection_limit', message }
  ])
  assert.throws(() => limitOf({ database_connection_limit: 9 }), {
    message:
      'The plan option "database_connection_limit" must be at least 10, the connection_limit of each binding, not 9.'
  })
})

test('options: a quota counts in powers of 1024, and a lifetime in milliseconds', () => {
  assert.deepEqual([{ storage_quota: '7MB' }, { storage_quota: '2GB' }, { storage_quota: '1TB' }, {}].map(quotaBytes), [
    7 * 1024 ** 2,
    2 * 1024 ** 3,
    1024 ** 4,
    Number.POSITIVE_INFINITY
  ])
  assert.deepEqual(
    ['3s', '2min', '1h', '30d'].map((binding_lifetime) => lifetimeMs({ binding_lifetime })),
    [3000, 120_000, 3_600_000, 30 * 86_400_000]
  )
  assert.equal(lifetimeMs({}), undefined)
})

test('admin URL: session settings are dropped, and the parts bindings are told are found', () => {
  const admin = (text: string, caFile?: string) => new AdminUrl(text, 'POSTGRESQL_ADMIN_URL', caFile)
  const url = admin('postgresql://a:p%40@db.example:6432/postgres?options=-c%20role%3Dx&application_name=y')
  assert.deepEqual([url.host, url.port], ['db.example', 6432])
  const asAdmin = url.asAdmin({ application_name: 'osb', options: '-c role=none' })
  assert.deepEqual(
    [asAdmin.user, asAdmin.password, asAdmin.database, asAdmin.application_name, asAdmin.options],
    ['a', 'p@', 'postgres', 'osb', '-c role=none']
  )
  assert.equal(url.asAdmin({ database: 'osb_d_x' }).database, 'osb_d_x')
  assert.equal(url.asAdmin({}).endpoint, asAdmin.endpoint)
  const login = url.asLogin({ database: 'd', username: 'u', password: 'w' }, {})
  assert.deepEqual([login.user, login.password, login.database], ['u', 'w', 'd'])
  const socket = admin('postgresql:///postgres?host=/run/postgresql&user=a')
  assert.deepEqual([socket.host, socket.port], ['localhost', 5432])
  assert.equal(admin('postgresql://[::1]:1/postgres').host, '::1')
  assert.equal(admin('postgresql://h/postgres?sslmode=verify-full', '/ca.pem').asAdmin({}).tls?.rootCertFile, '/ca.pem')
  assert.throws(() => admin('not a url with a p4ssword'), {
    name: 'ConnectionUrlError',
    message: 'POSTGRESQL_ADMIN_URL is not usable: it must be postgresql://user:password@host:port/database.'
  })
})

test('admin URL: libpq finds the same servers, with the same TLS', () => {
  const url = 'postgresql://a:p%40@one:1,two:2/postgres?sslmode=verify-full&sslcert=/c.pem&sslkey=/k.pem'
  assert.deepEqual(new AdminUrl(url, 'x', '/ca.pem').environment('osb_d_x'), {
    PGHOST: 'one,two',
    PGPORT: '1,2',
    PGUSER: 'a',
    PGPASSWORD: 'p@',
    PGDATABASE: 'osb_d_x',
    PGCONNECT_TIMEOUT: '10',
    PGTARGETSESSIONATTRS: 'read-write',
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: '/ca.pem',
    PGSSLCERT: '/c.pem',
    PGSSLKEY: '/k.pem'
  })
})

test('faults: each kind is told apart', () => {
  const fault = (code: string) => faultOf(Object.assign(new Error('x'), { code }))
  assert.equal(fault('08006')?.description, fault('ECONNREFUSED')?.description)
  assert.equal(fault('53300')?.tries, 4)
  assert.equal(fault('53100')?.alarm, true)
  assert.equal(fault('55P03')?.tries, 1)
  assert.equal(fault('42601'), undefined)
  assert.equal(fault('42P01'), fault('42704'), 'a tenant dropped a table between a look and a statement')
  assert.equal(faultOf(new Error('Connection terminated unexpectedly'))?.tries, 4)
  assert.equal(faultOf(new ServerUnfit('too old'))?.description, 'too old')
  assert.equal(faultOf('no error'), undefined)
})

test('server: versions that lose or ignore the role of a login are refused', () => {
  const check = (version: number, may_create = true) => refuseUnfit({ version, version_text: 'X', may_create })
  for (const version of [140022, 150009, 160005, 170001]) assert.throws(() => check(version), /has version X; needed/)
  for (const version of [150010, 160006, 170002, 180000, 190000]) check(version)
  assert.throws(() => check(180000, false), ServerUnfit)
})

test('credentials: with TLS and an authority say verify-full, with the root as the platform reads it', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'osb-test-ca-'))
  t.after(() => rm(folder, { recursive: true }))
  const caFile = join(folder, 'ca.pem')
  await writeFile(caFile, 'PEM')
  const options = { adminUrl: 'postgresql://a@[::1]/postgres', caFile, publicHost: '2001:db8::1', publicPort: 6432 }
  const binding = newBindingState(newInstanceState(), { role: 'reader', verifier: await scramVerifier('p4ssword') })
  const describe = (
    platform: string | undefined,
    tls = true,
    from: typeof options | { adminUrl: string } = options
  ) => {
    const task = { context: platform === undefined ? {} : { platform }, endpoints: false }
    return describeBinding(
      new AdminServer(from),
      {},
      { task, binding, password: 'p4ssword', database: `osb_d_${binding.token}`, tls }
    )
  }
  const { credentials = {}, endpoints } = await describe('cloudfoundry')
  assert.equal(endpoints, undefined)
  assert.match(String(credentials.uri), /@\[2001:db8::1\]:6432\/osb_d_.*\?sslmode=verify-full$/)
  assert.deepEqual([credentials.certificates, credentials['root.crt'], credentials.sslrootcert], ['PEM', 'PEM', 'PEM'])
  assert.deepEqual([credentials.role, credentials.read_only], ['reader', true])
  assert.equal((await describe('kubernetes')).credentials?.sslrootcert, 'root.crt')
  assert.equal((await describe(undefined)).credentials?.sslrootcert, undefined)
  assert.equal((await describe('kubernetes', false)).credentials?.sslmode, 'disable')
  const unverified = (await describe('kubernetes', true, { adminUrl: options.adminUrl })).credentials
  assert.deepEqual([unverified?.sslmode, unverified?.certificates], ['require', undefined])
})
