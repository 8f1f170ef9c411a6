import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { ConfigError, Environment, isTrustedProxy, readEnvironment } from '../src/config.ts'
import { configurationTable, withTable } from './docs/configuration-table.ts'

const credentials = { BROKER_USERNAME: 'platform', BROKER_PASSWORD: 'secret-password' }
const database = { DATABASE_URL: 'postgresql://a:secret-database@db/osb', BROKER_ENCRYPTION_KEYS: 'k1:secret-key' }
const defaults = {
  BROKER_HOST: '127.0.0.1',
  BROKER_PORT: 8080,
  BROKER_MAX_CONNECTIONS: 1000,
  BROKER_HEALTH_LISTENER: 'off',
  BROKER_STORAGE: 'embedded',
  BROKER_DATA_DIR: '.data',
  BROKER_ASYNC_OP_MILLIS: 0,
  BROKER_MISSING_VERSION_STATUS: 412,
  BROKER_DELETED_LAST_OPERATION: 'succeeded',
  BROKER_SYNC_DEADLINE_MS: 8000,
  BROKER_DATABASE_POOL_SIZE: 16,
  BROKER_POSTGRESQL_POOL_SIZE: 8,
  BROKER_WORKERS: 8,
  LOG_LEVEL: 'info'
}

test('configuration: nothing set gives the defaults', () => {
  assert.deepEqual(readEnvironment({}), defaults)
})

test('configuration: an empty variable counts as unset', () => {
  const empty = Object.fromEntries(Object.keys(Environment.properties).map((name) => [name, '']))
  assert.deepEqual(readEnvironment(empty), defaults)
})

test('configuration: variables that are not its own are ignored', () => {
  assert.deepEqual(readEnvironment({ PATH: '/bin', BROKER_COLOUR: 'red', PORT: '1' }), defaults)
})

const accepted: [Record<string, string>, Partial<Environment>][] = [
  [{ BROKER_PORT: '0' }, { BROKER_PORT: 0 }],
  [{ BROKER_PORT: '65535' }, { BROKER_PORT: 65535 }],
  [{ BROKER_MAX_CONNECTIONS: '1' }, { BROKER_MAX_CONNECTIONS: 1 }],
  [{ BROKER_HOST: '::1' }, { BROKER_HOST: '::1' }],
  [{ BROKER_MISSING_VERSION_STATUS: '400' }, { BROKER_MISSING_VERSION_STATUS: 400 }],
  [{ BROKER_DELETED_LAST_OPERATION: 'gone' }, { BROKER_DELETED_LAST_OPERATION: 'gone' }],
  [{ BROKER_ASYNC_OP_MILLIS: '3600000' }, { BROKER_ASYNC_OP_MILLIS: 3_600_000 }],
  [{ BROKER_SYNC_DEADLINE_MS: '100' }, { BROKER_SYNC_DEADLINE_MS: 100 }],
  [{ BROKER_WORKERS: '1' }, { BROKER_WORKERS: 1 }],
  [{ BROKER_AUDIT_RETENTION_DAYS: '365' }, { BROKER_AUDIT_RETENTION_DAYS: 365 }],
  [{ POSTGRESQL_PUBLIC_PORT: '1' }, { POSTGRESQL_PUBLIC_PORT: 1 }],
  [{ BROKER_DATABASE_POOL_SIZE: '2' }, { BROKER_DATABASE_POOL_SIZE: 2 }],
  [{ BROKER_POSTGRESQL_POOL_SIZE: '1000' }, { BROKER_POSTGRESQL_POOL_SIZE: 1_000 }],
  [{ LOG_LEVEL: 'silent' }, { LOG_LEVEL: 'silent' }],
  [{ BROKER_TRUST_PROXY: '127.0.0.1, 10.0.0.0/8,::1/128' }, { BROKER_TRUST_PROXY: '127.0.0.1, 10.0.0.0/8,::1/128' }],
  [
    { BROKER_TLS_CERT: 'cert', BROKER_TLS_KEY: 'key', BROKER_TLS_CLIENT_CA: 'ca' },
    { BROKER_TLS_CERT: 'cert', BROKER_TLS_KEY: 'key', BROKER_TLS_CLIENT_CA: 'ca' }
  ],
  [
    { BROKER_STORAGE: 'memory', BROKER_PLATFORMS_FILE: 'platforms.yaml' },
    { BROKER_STORAGE: 'memory', BROKER_PLATFORMS_FILE: 'platforms.yaml' }
  ],
  [credentials, credentials],
  [
    { ...credentials, BROKER_PASSWORD: '12345' },
    { ...credentials, BROKER_PASSWORD: '12345' }
  ],
  [
    { ...credentials, BROKER_STORAGE: 'memory' },
    { ...credentials, BROKER_STORAGE: 'memory' }
  ],
  [
    { ...credentials, ...database, BROKER_STORAGE: 'postgres' },
    { ...credentials, ...database, BROKER_STORAGE: 'postgres' }
  ]
]

for (const [variables, expected] of accepted) {
  test(`configuration: ${shown(variables)} is accepted`, () => {
    assert.deepEqual(readEnvironment(variables), { ...defaults, ...expected })
  })
}

const tls = { BROKER_TLS_CERT: '/tls/cert.pem', BROKER_TLS_KEY: '/tls/key.pem' }
const badProxy = (proxy: string) =>
  `BROKER_TRUST_PROXY has "${proxy}": it must be an address or a CIDR such as 10.0.0.0/8.`

const refused: [Record<string, string>, string][] = [
  [
    { ...credentials, BROKER_PLATFORMS_FILE: 'platforms.yaml' },
    'BROKER_PLATFORMS_FILE and BROKER_USERNAME exclude each other: give the platform an entry in the file.'
  ],
  [{ ...tls, BROKER_TLS_KEY: '' }, 'BROKER_TLS_CERT and BROKER_TLS_KEY must be set together.'],
  [{ ...tls, BROKER_TLS_CERT: '' }, 'BROKER_TLS_CERT and BROKER_TLS_KEY must be set together.'],
  [
    { BROKER_TLS_CLIENT_CA: '/tls/ca.pem' },
    'BROKER_TLS_CLIENT_CA needs BROKER_TLS_CERT and BROKER_TLS_KEY: without HTTPS nobody shows a certificate.'
  ],
  [{ BROKER_TRUST_PROXY: 'proxy.example.com' }, badProxy('proxy.example.com')],
  [{ BROKER_TRUST_PROXY: 'true' }, badProxy('true')],
  [{ BROKER_TRUST_PROXY: '10.0.0.1,' }, badProxy('')],
  [{ BROKER_TRUST_PROXY: '10.0.0.0/33' }, badProxy('10.0.0.0/33')],
  [{ BROKER_TRUST_PROXY: '::1/129' }, badProxy('::1/129')],
  [{ BROKER_TRUST_PROXY: '10.0.0.0/8/8' }, badProxy('10.0.0.0/8/8')],
  [{ BROKER_PORT: '65536' }, 'BROKER_PORT is "65536": it must be a whole number from 0 to 65535.'],
  [{ BROKER_PORT: '-1' }, 'BROKER_PORT is "-1": it must be a whole number from 0 to 65535.'],
  [{ BROKER_PORT: '80.5' }, 'BROKER_PORT is "80.5": it must be a whole number from 0 to 65535.'],
  [{ BROKER_PORT: 'http' }, 'BROKER_PORT is "http": it must be a whole number from 0 to 65535.'],
  [{ BROKER_PORT: ' ' }, 'BROKER_PORT is " ": it must be a whole number from 0 to 65535.'],
  [{ BROKER_PORT: '8080x' }, 'BROKER_PORT is "8080x": it must be a whole number from 0 to 65535.'],
  [{ BROKER_PORT: 'true' }, 'BROKER_PORT is "true": it must be a whole number from 0 to 65535.'],
  [{ BROKER_DATABASE_POOL_SIZE: '1' }, 'BROKER_DATABASE_POOL_SIZE is "1": it must be a whole number from 2 to 1000.'],
  [
    { BROKER_POSTGRESQL_POOL_SIZE: '0' },
    'BROKER_POSTGRESQL_POOL_SIZE is "0": it must be a whole number from 1 to 1000.'
  ],
  [
    { ...credentials, ...database, DATABASE_URL: 'postgresql://a:b@db/osb?sslMode=verify-full' },
    'DATABASE_URL has the unknown parameter "sslMode": use "sslmode".'
  ],
  [
    { POSTGRESQL_ADMIN_URL: 'postgresql://a:b@db/postgres?ssl=require' },
    'POSTGRESQL_ADMIN_URL has ssl=require: allowed are 0, 1, true, false, no-verify. Write sslmode=require.'
  ],
  [{ POSTGRESQL_PUBLIC_PORT: '0' }, 'POSTGRESQL_PUBLIC_PORT is "0": it must be a whole number from 1 to 65535.'],
  [{ BROKER_STORAGE: 'Embedded' }, 'BROKER_STORAGE is "Embedded": it must be embedded, memory or postgres.'],
  [{ BROKER_MISSING_VERSION_STATUS: '404' }, 'BROKER_MISSING_VERSION_STATUS is "404": it must be 412 or 400.'],
  [{ BROKER_DELETED_LAST_OPERATION: '410' }, 'BROKER_DELETED_LAST_OPERATION is "410": it must be succeeded or gone.'],
  [
    { BROKER_ASYNC_OP_MILLIS: '3600001' },
    'BROKER_ASYNC_OP_MILLIS is "3600001": it must be a whole number from 0 to 3600000.'
  ],
  [{ BROKER_WORKERS: '0' }, 'BROKER_WORKERS is "0": it must be a whole number from 1 to 256.'],
  [{ BROKER_SYNC_DEADLINE_MS: '99' }, 'BROKER_SYNC_DEADLINE_MS is "99": it must be a whole number from 100 to 60000.'],
  [
    { BROKER_AUDIT_RETENTION_DAYS: '0' },
    'BROKER_AUDIT_RETENTION_DAYS is "0": it must be a whole number from 1 to 36500.'
  ],
  [{ LOG_LEVEL: 'verbose' }, 'LOG_LEVEL is "verbose": it must be trace, debug, info, warn, error, fatal or silent.'],
  [{ BROKER_USERNAME: 'platform' }, 'BROKER_USERNAME and BROKER_PASSWORD must be set together.'],
  [{ BROKER_PASSWORD: 'secret-password' }, 'BROKER_USERNAME and BROKER_PASSWORD must be set together.'],
  [{ ...credentials, BROKER_PASSWORD: '' }, 'BROKER_USERNAME and BROKER_PASSWORD must be set together.'],
  [
    { BROKER_STORAGE: 'memory' },
    'Set BROKER_USERNAME and BROKER_PASSWORD, or BROKER_PLATFORMS_FILE: with BROKER_STORAGE=memory none are generated.'
  ],
  [
    { ...database, BROKER_STORAGE: 'postgres' },
    'Set BROKER_USERNAME and BROKER_PASSWORD, or BROKER_PLATFORMS_FILE: with BROKER_STORAGE=postgres none are generated.'
  ],
  [
    { ...credentials, ...database, BROKER_STORAGE: 'postgres', DATABASE_URL: '' },
    "Set DATABASE_URL to the PostgreSQL database of the broker's own state, for BROKER_STORAGE=postgres."
  ],
  [
    { ...credentials, ...database, BROKER_STORAGE: 'postgres', BROKER_ENCRYPTION_KEYS: '' },
    'Set BROKER_ENCRYPTION_KEYS to "kid:key" for BROKER_STORAGE=postgres; make a key with: openssl rand -base64 32'
  ]
]

for (const [variables, message] of refused) {
  test(`configuration: ${shown(variables)} is refused`, () => {
    assert.throws(
      () => readEnvironment(variables),
      (error) => {
        assert.ok(error instanceof ConfigError)
        assert.equal(error.message, message)
        return true
      }
    )
  })
}

test('docs/configuration.md: its table of variables is that of the schema (npm run docs:table)', () => {
  const page = readFileSync(new URL('../docs/configuration.md', import.meta.url), 'utf8')
  assert.equal(page, withTable(page, configurationTable()))
})

test('README: it has the two commands that a checkout starts with, and its links lead somewhere', () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  for (const command of ['npm ci && npm start', 'npm ci && npm test']) assert.ok(readme.includes(`\n${command}\n`))
  for (const [, target = ''] of readme.matchAll(/\]\((?!https:)([^)#]+)[^)]*\)/g)) {
    assert.ok(existsSync(new URL(`../${target}`, import.meta.url)), `${target} is not there`)
  }
})

function shown(variables: Record<string, string>): string {
  return Object.entries(variables)
    .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
    .join(' ')
}

test('isTrustedProxy: addresses and networks of BROKER_TRUST_PROXY, also IPv4-mapped, and nothing else', () => {
  const memory = { BROKER_STORAGE: 'memory', BROKER_USERNAME: 'a', BROKER_PASSWORD: 'b' }
  const trusts = isTrustedProxy(readEnvironment({ ...memory, BROKER_TRUST_PROXY: '10.0.0.0/8,fd00::/8,192.0.2.1' }))
  for (const address of ['10.1.2.3', '::ffff:10.1.2.3', 'fd00::1', '192.0.2.1'])
    assert.equal(trusts(address), true, address)
  for (const address of ['11.0.0.1', '::1', '192.0.2.2', '']) assert.equal(trusts(address), false, address)
  assert.equal(isTrustedProxy(readEnvironment(memory))('10.1.2.3'), false)
})
