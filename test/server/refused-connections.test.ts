import assert from 'node:assert/strict'
import { chmodSync, chownSync, copyFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { buildApp, newEncryptionKeys } from '../helper/app.ts'
import { OwnServer } from '../providers/postgresql/own-server.ts'
import { cleanUp } from '../providers/postgresql/support.ts'
import { answered, Platform } from '../routes/support.ts'
import { scene, temporaryFolder, until, type Variables } from './broker-process.ts'
import { makeCertificate } from './certificates.ts'

const server = new OwnServer()
const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/tls/${name}.pem`, import.meta.url))

before(() => server.start())
after(() => server.remove())

/** The URL of the server with another password, which must not be shown. */
function withPassword(password: string, more = ''): string {
  return server.adminUrl.replace(/:[^:@]+@/, `:${password}@`) + more
}

describe('a server that refuses the broker when it starts', { concurrency: 2 }, () => {
  const url = () => server.adminUrl
  const commands = [['serve'], ['migrate'], ['rekey'], ['rekey', '--check'], ['audit'], ['postgresql', 'audit']]
  const environment = (variables: Variables): Variables => ({
    BROKER_STORAGE: 'postgres',
    BROKER_USERNAME: 'platform',
    BROKER_PASSWORD: 'a-long-password',
    BROKER_ENCRYPTION_KEYS: newEncryptionKeys(),
    POSTGRESQL_ADMIN_URL: url(),
    DATABASE_URL: url(),
    BROKER_PORT: '0',
    LOG_LEVEL: 'warn',
    ...variables
  })
  const says = async (t: TestContext, args: string[], variables: Variables, line: string | RegExp) => {
    const program = scene(t).run(args, environment(variables))
    const { code } = await program.ended
    assert.match(program.stderr, /^[^\n]+\n$/, 'one line')
    if (typeof line === 'string') assert.equal(program.stderr, `${line}\n`)
    else assert.match(program.stderr, line)
    assert.equal(code, 1)
    assert.doesNotMatch(program.stderr + program.stdout, /hush/)
  }

  for (const args of commands) {
    const name = `osb ${args.join(' ')}`
    test(`${name}: a wrong password in DATABASE_URL`, (t) =>
      says(
        t,
        args,
        { DATABASE_URL: withPassword('hush') },
        'DATABASE_URL: password authentication failed for user "postgres".'
      ))
    test(`${name}: a database that there is not in DATABASE_URL`, (t) =>
      says(
        t,
        args,
        { DATABASE_URL: url().replace(/postgres$/, 'nowhere') },
        'DATABASE_URL: database "nowhere" does not exist.'
      ))
    test(`${name}: TLS that the server of DATABASE_URL does not speak`, (t) =>
      says(
        t,
        args,
        { DATABASE_URL: `${url()}?sslmode=verify-full` },
        'DATABASE_URL: TLS: The server does not support SSL connections.'
      ))
    test(`${name}: a parameter of DATABASE_URL that there is not`, (t) =>
      says(
        t,
        args,
        { DATABASE_URL: withPassword('hush', '?sslMode=verify-full') },
        'DATABASE_URL has the unknown parameter "sslMode": use "sslmode".'
      ))
  }

  test('osb migrate: an authority in DATABASE_URL that cannot be read', (t) =>
    says(
      t,
      ['migrate'],
      { DATABASE_URL: `${url()}?sslmode=verify-full&sslrootcert=/nowhere/ca.pem` },
      /^DATABASE_URL: TLS: sslrootcert cannot be read: ENOENT: .*\/nowhere\/ca\.pem'\.\n$/
    ))

  for (const args of [['serve'], ['postgresql', 'audit']]) {
    const name = `osb ${args.join(' ')}`
    test(`${name}: a wrong password in POSTGRESQL_ADMIN_URL`, async (t) => {
      await migrated(t)
      await says(
        t,
        args,
        { POSTGRESQL_ADMIN_URL: withPassword('hush') },
        'POSTGRESQL_ADMIN_URL: password authentication failed for user "postgres".'
      )
    })
    test(`${name}: TLS that the server of POSTGRESQL_ADMIN_URL does not speak`, async (t) => {
      await migrated(t)
      await says(
        t,
        args,
        { POSTGRESQL_ADMIN_URL: `${url()}?sslmode=require` },
        'POSTGRESQL_ADMIN_URL: TLS: The server does not support SSL connections.'
      )
    })
    test(`${name}: a wrong password in the file of servers`, async (t) => {
      await migrated(t)
      const file = join(temporaryFolder(t), 'servers.yaml')
      writeFileSync(file, JSON.stringify({ servers: { blue: { admin_url: withPassword('hush') } } }))
      await says(
        t,
        args,
        { POSTGRESQL_ADMIN_URL: '', POSTGRESQL_SERVERS_FILE: file },
        'POSTGRESQL_SERVERS_FILE: servers.blue.admin_url: password authentication failed for user "postgres".'
      )
    })
  }

  async function migrated(t: TestContext): Promise<void> {
    const program = scene(t).run(['migrate'], environment({}))
    assert.deepEqual(await program.ended, { code: 0, signal: null }, program.stderr)
  }
})

describe('a server that refuses a broker that is running', () => {
  const end = (database: string) =>
    server.sql('SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE datname = $1', [database])
  const refusals: [string, (database: string) => string, (database: string) => string][] = [
    [
      'its password is another (28P01)',
      () => `ALTER ROLE state PASSWORD 'other'`,
      () => `ALTER ROLE state PASSWORD 'state'`
    ],
    ['its role may not log in (28000)', () => 'ALTER ROLE state NOLOGIN', () => 'ALTER ROLE state LOGIN'],
    [
      'the database takes no connections (55000)',
      (database) => `ALTER DATABASE ${database} ALLOW_CONNECTIONS false`,
      (database) => `ALTER DATABASE ${database} ALLOW_CONNECTIONS true`
    ],
    [
      'the database has another name (3D000)',
      (database) => `ALTER DATABASE ${database} RENAME TO away`,
      (database) => `ALTER DATABASE away RENAME TO ${database}`
    ]
  ]
  for (const [what, refuse, admit] of refusals) {
    test(`every request: ${what}: 503 with Retry-After, and all is well when that is over`, async (t) => {
      const { platform, database } = await broker(t)
      // A database that is in use cannot be renamed
      await server.sql('ALTER ROLE state NOLOGIN')
      await end(database)
      await server.sql(refuse(database))
      if (!refuse(database).includes('NOLOGIN')) await server.sql('ALTER ROLE state LOGIN')
      await unavailable(platform)
      await server.sql(admit(database))
      await well(platform)
    })
  }

  test('every request: TLS fails: 503 with Retry-After, and all is well when that is over', async (t) => {
    await encrypt()
    cleanUp(t, () => server.sql(`ALTER SYSTEM RESET ssl`).then(() => server.restart()))
    const rootCert = join(temporaryFolder(t), 'root.pem')
    copyFileSync(fixture('cert'), rootCert)
    const { platform, database } = await broker(t, `?sslmode=verify-full&sslrootcert=${rootCert}`)
    // Renewed by somebody else's authority
    writeFileSync(rootCert, makeCertificate(temporaryFolder(t), 'other', { subject: '/CN=other' }).cert)
    await end(database)
    await unavailable(platform)
    copyFileSync(fixture('cert'), rootCert)
    await well(platform)

    await server.sql('ALTER SYSTEM SET ssl = off')
    await server.sql('SELECT pg_reload_conf()')
    await end(database)
    await unavailable(platform)
    await server.sql('ALTER SYSTEM SET ssl = on')
    await server.sql('SELECT pg_reload_conf()')
    await well(platform)
  })

  async function unavailable(platform: Platform): Promise<void> {
    await until('it is noticed', async () => (await platform.get('/readyz')).statusCode === 503)
    for (const reply of [
      await platform.fetch('i-1'),
      await platform.provision('i-2'),
      await platform.bind('i-1', 'b-1'),
      await platform.deprovision('i-1')
    ]) {
      assert.equal(reply.statusCode, 503, reply.body)
      assert.match(String(reply.headers['retry-after']), /^[1-9]\d*$/)
    }
  }

  async function well(platform: Platform): Promise<void> {
    await until('the broker is ready', async () => (await platform.get('/readyz')).statusCode === 200)
    answered(await platform.fetch('i-1'), 200)
    answered(await platform.bind('i-1', 'b-1'), 201)
    answered(await platform.unbind('i-1', 'b-1'), 200)
  }

  let databases = 0

  async function broker(t: TestContext, query = '') {
    databases += 1
    const database = `state_${databases}`
    await server.sql('DROP ROLE IF EXISTS state')
    await server.sql(`CREATE ROLE state LOGIN PASSWORD 'state'`)
    await server.sql(`CREATE DATABASE ${database} OWNER state`)
    cleanUp(t, async () => {
      await server.sql(`DROP DATABASE ${database} WITH (FORCE)`)
      await server.sql('DROP ROLE state')
    })
    const connectionString = `${withPassword('state')
      .replace(/\/\/[^:]+/, '//state')
      .replace(/postgres$/, database)}${query}`
    const app = await buildApp(t, { store: { connectionString }, encryptionKeys: newEncryptionKeys() })
    const platform = new Platform(app)
    answered(await platform.provision('i-1'), 201)
    return { platform, database }
  }
})

/** As in `providers/postgresql/tls.test.ts`. */
async function encrypt(): Promise<void> {
  for (const name of ['cert', 'key']) {
    const file = join(server.clusterDir, `${name}.pem`)
    copyFileSync(fixture(name), file)
    const { uid, gid } = statSync(join(server.clusterDir, 'PG_VERSION'))
    chownSync(file, uid, gid)
    chmodSync(file, 0o600)
  }
  await server.sql(`ALTER SYSTEM SET ssl_cert_file = 'cert.pem'`)
  await server.sql(`ALTER SYSTEM SET ssl_key_file = 'key.pem'`)
  await server.sql('ALTER SYSTEM SET ssl = on')
  await server.restart()
}
