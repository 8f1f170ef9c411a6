import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { ConfigError, readEnvironment } from '../src/config.ts'
import { postgresqlOptions } from '../src/postgresql-servers.ts'

function fileWith(t: TestContext, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'osb-servers-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'servers.yaml')
  writeFileSync(file, text)
  return file
}

const optionsFrom = (variables: Record<string, string>) => postgresqlOptions(readEnvironment(variables), undefined)

test('servers: each of the file has its own admin, addresses and room', (t) => {
  const caFile = fileWith(t, 'PEM')
  const file = fileWith(
    t,
    `servers:
  blue:
    admin_url: postgresql://admin:secret@blue.internal:5432/postgres
    admin_role: osb_broker
    public_host: blue.example
    public_port: 6432
    ca_file: ${caFile}
    max_databases: 500
  green: { admin_url: "postgres://admin:secret@green.internal/postgres" }
`
  )
  assert.deepEqual(optionsFrom({ POSTGRESQL_SERVERS_FILE: file, POSTGRESQL_BACKUP_COMMAND: 'true' }), {
    backupCommand: 'true',
    poolSize: 8,
    servers: {
      blue: {
        adminUrl: 'postgresql://admin:secret@blue.internal:5432/postgres',
        adminRole: 'osb_broker',
        publicHost: 'blue.example',
        publicPort: 6432,
        caFile,
        maxDatabases: 500
      },
      green: {
        adminUrl: 'postgres://admin:secret@green.internal/postgres',
        adminRole: undefined,
        publicHost: undefined,
        publicPort: undefined,
        caFile: undefined,
        maxDatabases: undefined
      }
    }
  })
})

test('servers: a file that breaks a rule is refused with the place and without the secret', (t) => {
  const wrong: [string, RegExp][] = [
    ['servers: {}', /servers is not as it must be/],
    [
      'servers: { blue: { admin_url: "mysql://a:secret@b/c" } }',
      /^POSTGRESQL_SERVERS_FILE: servers\.blue\.admin_url is not/
    ],
    ['servers: { blue: { admin_url: 5 } }', /servers\.blue\.admin_url is not as it must be/],
    [
      'servers: { blue: { admin_url: "postgres://a:secret@b/c?sslMode=require" } }',
      /^POSTGRESQL_SERVERS_FILE: servers\.blue\.admin_url has the unknown parameter "sslMode": use "sslmode"\.$/
    ],
    ['servers: { blue: { admin_url: "postgres://a:sec#ret@b/c" } }', /blue\.admin_url contains an unencoded "#"/],
    ['servers: { blue: { admin_url: "postgres://a:secret@b,c/d" } }', /several hosts: set public_host to the address/],
    ['servers: { blue: { admin_url: "postgres://a:secret@b/c", port: 1 } }', /servers\.blue\.port is not/],
    ['servers: { Blue: { admin_url: "postgres://a:secret@b/c" } }', /servers\.Blue is not/],
    ['servers: { blue: { admin_url: "postgres://a:secret@b/c", max_databases: 0 } }', /max_databases is not/],
    ['servers: { blue: { admin_url: "postgres://a:secret@b/c", ca_file: /nowhere/ca.pem } }', /ca_file cannot be read/],
    ['servers: [{ admin_url: "postgres://a:secret@b/c"', /cannot be read/],
    ['', /it is not as it must be/]
  ]
  for (const [text, message] of wrong) {
    assert.throws(
      () => optionsFrom({ POSTGRESQL_SERVERS_FILE: fileWith(t, text) }),
      (error) => {
        assert.ok(error instanceof ConfigError)
        assert.match(error.message, message)
        assert.doesNotMatch(error.message, /secret/)
        return true
      }
    )
  }
  assert.throws(() => optionsFrom({ POSTGRESQL_SERVERS_FILE: '/nowhere/servers.yaml' }), /cannot be read: ENOENT/)
})

test('servers: the file and the variables of one server exclude each other', (t) => {
  const POSTGRESQL_SERVERS_FILE = fileWith(t, 'servers: { blue: { admin_url: "postgres://a:secret@b/c" } }')
  for (const [name, value] of [
    ['POSTGRESQL_ADMIN_URL', 'postgres://a:secret@b/c'],
    ['POSTGRESQL_PUBLIC_PORT', '1'],
    ['POSTGRESQL_ADMIN_ROLE', 'group']
  ] as const) {
    assert.throws(
      () => optionsFrom({ POSTGRESQL_SERVERS_FILE, [name]: value }),
      new RegExp(`^ConfigError: ${name} and POSTGRESQL_SERVERS_FILE exclude each other: say it in the file\\.$`)
    )
  }
})

test('servers: without a file it is the one of the variables, else the embedded one', () => {
  const one = optionsFrom({ POSTGRESQL_ADMIN_URL: 'postgres://a@b/c', POSTGRESQL_ADMIN_ROLE: 'group' })
  assert.ok(one !== undefined && 'adminUrl' in one)
  assert.deepEqual([one.adminUrl, one.adminRole], ['postgres://a@b/c', 'group'])
  const embedded = { adminUrl: 'postgres://embedded/postgres', stateDatabase: 'state' }
  const other = postgresqlOptions(readEnvironment({ POSTGRESQL_PUBLIC_HOST: 'here' }), embedded)
  assert.ok(other !== undefined && 'adminUrl' in other)
  assert.deepEqual([other.adminUrl, other.stateDatabase, other.publicHost], [embedded.adminUrl, 'state', 'here'])
  assert.equal(optionsFrom({}), undefined)
})

test('servers: an admin URL with several hosts needs the address that bindings are told', () => {
  const POSTGRESQL_ADMIN_URL = 'postgres://a@b,c/d'
  assert.throws(() => optionsFrom({ POSTGRESQL_ADMIN_URL }), {
    name: 'ConfigError',
    message:
      'POSTGRESQL_ADMIN_URL has several hosts: set POSTGRESQL_PUBLIC_HOST to the address that applications connect to.'
  })
  assert.ok(optionsFrom({ POSTGRESQL_ADMIN_URL, POSTGRESQL_PUBLIC_HOST: 'db.example' }))
})

test('servers: the size of the pools is that of the variable', () => {
  const options = optionsFrom({ POSTGRESQL_ADMIN_URL: 'postgres://a@b/c', BROKER_POSTGRESQL_POOL_SIZE: '3' })
  assert.equal(options?.poolSize, 3)
})

test('backup: a directory must be there and be writable, and takes the place of a command', (t) => {
  const admin = { POSTGRESQL_ADMIN_URL: 'postgresql://admin@db.internal/postgres' }
  const folder = mkdtempSync(join(tmpdir(), 'osb-servers-'))
  t.after(() => rmSync(folder, { recursive: true }))
  assert.deepEqual(optionsFrom({ ...admin, POSTGRESQL_BACKUP_DIRECTORY: folder })?.backupDirectory, folder)
  const refused = (variables: Record<string, string>, message: RegExp) =>
    assert.throws(() => optionsFrom({ ...admin, ...variables }), { name: 'ConfigError', message })
  refused(
    { POSTGRESQL_BACKUP_DIRECTORY: folder, POSTGRESQL_BACKUP_COMMAND: 'true' },
    /POSTGRESQL_BACKUP_COMMAND and POSTGRESQL_BACKUP_DIRECTORY exclude each other/
  )
  refused(
    { POSTGRESQL_BACKUP_DIRECTORY: join(folder, 'none') },
    /^POSTGRESQL_BACKUP_DIRECTORY cannot be written to: ENOENT/
  )
  refused({ POSTGRESQL_BACKUP_DIRECTORY: fileWith(t, '') }, /cannot be written to: it is not a directory/)
})
