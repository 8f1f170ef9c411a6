import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { newEncryptionKeys } from '../helper/app.ts'
import { osb, scene, temporaryFolder, until, type Variables, watch } from './broker-process.ts'

const secrets = { password: 'hush-password', database: 'hush-database', key: 'hush-key-that-is-not-base64!' }
const memory = { BROKER_STORAGE: 'memory', BROKER_USERNAME: 'platform', BROKER_PASSWORD: secrets.password }
const adminUrl = 'postgresql://admin@127.0.0.1:1/postgres'
const postgres = {
  ...memory,
  BROKER_STORAGE: 'postgres',
  DATABASE_URL: `postgresql://broker:${secrets.database}@127.0.0.1:1/broker`,
  BROKER_ENCRYPTION_KEYS: newEncryptionKeys()
}
const pem = (name: string) => fileURLToPath(new URL(`../fixtures/tls/${name}.pem`, import.meta.url))
const tls = { BROKER_TLS_CERT: pem('cert'), BROKER_TLS_KEY: pem('key') }
const shortKey = Buffer.from('hush-16-bytes-xx').toString('base64')

interface Refusal {
  readonly name: string
  readonly variables: Variables
  /** The whole of stderr. */
  readonly says: RegExp
}

const refusals: Refusal[] = [
  {
    name: 'BROKER_STORAGE: an unknown one',
    variables: { ...memory, BROKER_STORAGE: 'redis' },
    says: /^BROKER_STORAGE is "redis": it must be embedded, memory or postgres\.\n$/
  },
  {
    name: 'BROKER_PORT: not a port',
    variables: { ...memory, BROKER_PORT: '99999' },
    says: /^BROKER_PORT is "99999": it must be a whole number from 0 to 65535\.\n$/
  },
  {
    name: 'BROKER_HOST: an address that is not of this machine',
    variables: { ...memory, POSTGRESQL_ADMIN_URL: adminUrl, BROKER_HOST: '192.0.2.1' },
    says: /^.*BROKER_HOST.*\n$/
  },
  {
    name: 'BROKER_STORAGE=memory: no password',
    variables: { BROKER_STORAGE: 'memory' },
    says: /^Set BROKER_USERNAME and BROKER_PASSWORD, or BROKER_PLATFORMS_FILE: .*BROKER_STORAGE=memory.*\n$/
  },
  {
    name: 'BROKER_PLATFORMS_FILE: no such file',
    variables: {
      BROKER_STORAGE: 'memory',
      POSTGRESQL_ADMIN_URL: adminUrl,
      BROKER_PLATFORMS_FILE: '/nowhere/platforms.yaml'
    },
    says: /^BROKER_PLATFORMS_FILE: \/nowhere\/platforms\.yaml cannot be read: there is no such file\n$/
  },
  {
    name: 'BROKER_TLS_CERT: no such file',
    variables: { ...memory, ...tls, POSTGRESQL_ADMIN_URL: adminUrl, BROKER_TLS_CERT: '/nowhere/cert.pem' },
    says: /^BROKER_TLS_CERT cannot be read: ENOENT: .*\/nowhere\/cert\.pem.*\n$/
  },
  {
    name: 'BROKER_TLS_CERT: a key',
    variables: { ...memory, ...tls, POSTGRESQL_ADMIN_URL: adminUrl, BROKER_TLS_CERT: tls.BROKER_TLS_KEY },
    says: /^BROKER_TLS_CERT: \S+key\.pem must hold certificates in PEM: it holds none\.\n$/
  },
  {
    name: 'BROKER_TLS_KEY: a certificate',
    variables: { ...memory, ...tls, POSTGRESQL_ADMIN_URL: adminUrl, BROKER_TLS_KEY: tls.BROKER_TLS_CERT },
    says: /^BROKER_TLS_KEY: \S+cert\.pem must hold a private key in PEM, without a passphrase\.\n$/
  },
  {
    name: 'BROKER_TLS_CLIENT_CA: no certificate',
    variables: { ...memory, ...tls, POSTGRESQL_ADMIN_URL: adminUrl, BROKER_TLS_CLIENT_CA: tls.BROKER_TLS_KEY },
    says: /^BROKER_TLS_CLIENT_CA: \S+key\.pem must hold certificates in PEM: it holds none\.\n$/
  },
  {
    name: 'BROKER_USERNAME: without BROKER_PASSWORD',
    variables: { BROKER_USERNAME: 'platform' },
    says: /^BROKER_USERNAME and BROKER_PASSWORD must be set together\.\n$/
  },
  {
    name: 'BROKER_STORAGE=postgres: no DATABASE_URL',
    variables: { ...postgres, DATABASE_URL: '' },
    says: /^Set DATABASE_URL .*BROKER_STORAGE=postgres\.\n$/
  },
  {
    name: 'BROKER_STORAGE=postgres: no keys',
    variables: { ...postgres, BROKER_ENCRYPTION_KEYS: '' },
    says: /^Set BROKER_ENCRYPTION_KEYS .*openssl rand -base64 32\n$/
  },
  {
    name: 'BROKER_ENCRYPTION_KEYS: not keys',
    variables: { ...postgres, BROKER_ENCRYPTION_KEYS: secrets.key },
    says: /^BROKER_ENCRYPTION_KEYS must be kid:base64.*openssl rand -base64 32\n$/
  },
  {
    name: 'BROKER_ENCRYPTION_KEYS: a key that is too short',
    variables: { ...postgres, BROKER_ENCRYPTION_KEYS: `k1:${shortKey}` },
    says: /^BROKER_ENCRYPTION_KEYS .*"k1".* has 16 bytes; it must have 32.*\n$/
  },
  {
    name: 'DATABASE_URL: not a URL',
    variables: { ...postgres, POSTGRESQL_ADMIN_URL: adminUrl, DATABASE_URL: secrets.database },
    says: /^.*DATABASE_URL.*\n$/
  },
  {
    name: 'POSTGRESQL_ADMIN_URL: not a URL',
    variables: { ...memory, POSTGRESQL_ADMIN_URL: secrets.database },
    says: /^.*POSTGRESQL_ADMIN_URL.*\n$/
  },
  {
    name: 'POSTGRESQL_CA_FILE: no such file',
    variables: {
      ...memory,
      POSTGRESQL_ADMIN_URL: adminUrl,
      POSTGRESQL_CA_FILE: '/nowhere/ca.pem'
    },
    says: /^.*POSTGRESQL_CA_FILE.*\n$/
  },
  {
    name: 'the shipped catalog: no server for the databases of tenants',
    variables: memory,
    says: /^[^\n]*\n?[^\n]*POSTGRESQL_ADMIN_URL[^\n]*\n$/
  },
  {
    name: 'BROKER_CATALOG_PATH: no such file',
    variables: { ...memory, BROKER_CATALOG_PATH: '/nowhere/catalog.yaml' },
    says: /^BROKER_CATALOG_PATH: the catalog \/nowhere\/catalog\.yaml cannot be read: there is no such file\n$/
  },
  {
    name: 'BROKER_CATALOG_PATH: a directory',
    variables: { ...memory, BROKER_CATALOG_PATH: '/' },
    says: /^BROKER_CATALOG_PATH: the catalog \/ cannot be read: it is a directory\n$/
  }
]

describe('osb serve: what cannot work is refused before it listens', { concurrency: 2 }, () => {
  for (const { name, variables, says } of refusals) {
    test(`osb serve: ${name} ends with 1 and one clear line`, async (t) => {
      assert.match(await refusalOf(t, variables), says)
    })
  }

  test('osb serve: a broken catalog ends with 1 and all its faults', async (t) => {
    const path = join(temporaryFolder(t), 'catalog.yaml')
    writeFileSync(
      path,
      `services:
  - id: s
    name: first
    description: d
    bindable: yes
    x-broker: { provider: example }
    plans: [{ id: p, name: x }]
  - id: s
    name: second
    description: d
    bindable: true
    x-broker: { provider: example }
    plans: []
`
    )
    const said = await refusalOf(t, { ...memory, BROKER_CATALOG_PATH: path })
    const [head, ...faults] = said.trimEnd().split('\n')
    assert.equal(head, `BROKER_CATALOG_PATH: the catalog ${path} has ${faults.length} errors:`)
    assert.ok(faults.length >= 4, said)
    for (const place of [
      'services[0:first].bindable ',
      'services[0:first].plans[0:x].description ',
      'services[1:second].id ',
      'services[1:second].plans '
    ]) {
      assert.ok(
        faults.some((fault) => fault.startsWith(`  ${place}`)),
        `${place} is not among\n${said}`
      )
    }
  })

  test('osb serve: a broken file of platforms ends with 1 and all its faults', async (t) => {
    const path = join(temporaryFolder(t), 'platforms.yaml')
    writeFileSync(path, 'platforms: { a: {}, b: { basic: [{ username: b, password: hush-password }] } }')
    assert.equal(
      await refusalOf(t, { BROKER_STORAGE: 'memory', POSTGRESQL_ADMIN_URL: adminUrl, BROKER_PLATFORMS_FILE: path }),
      `BROKER_PLATFORMS_FILE: ${path} has 2 errors:
  platforms.b.basic[0].password_hash is required
  platforms.b.basic[0].password is not known (known: username, password_hash)
`
    )
  })

  test('osb serve: a catalog that names an unknown provider ends with 1 and the known ones', async (t) => {
    const path = catalogFile(t, { provider: 'nowhere' })
    const said = await refusalOf(t, { ...memory, BROKER_CATALOG_PATH: path })
    assert.match(said, /\n {2}services\[0:toy\]\.x-broker\.provider "nowhere" is not a known provider /)
  })

  test('osb serve: a catalog without a provider, and no default, ends with 1 and the name of the variable', async (t) => {
    const path = catalogFile(t, {})
    const said = await refusalOf(t, { ...memory, BROKER_CATALOG_PATH: path })
    assert.match(said, /services\[0:toy\]\.x-broker\.provider is required where BROKER_DEFAULT_PROVIDER is not set/)
  })

  test('osb serve: a port that is taken ends with 1 and one clear line', async (t) => {
    const other = createServer().listen(0, '127.0.0.1')
    t.after(() => other.close())
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    const variables = { ...memory, BROKER_CATALOG_PATH: catalogFile(t), BROKER_PORT: String(port) }
    const said = await refusalOf(t, variables)
    assert.match(said, new RegExp(`^[^\\n]*${port}[^\\n]*\\n$`))
    assert.match(said, /BROKER_PORT/)
  })

  test('osb serve: a data directory that another broker uses ends with 1 and one clear line', async (t) => {
    const { dataDir, serve, run } = scene(t)
    const first = await serve()
    const program = run(['serve'], { BROKER_PORT: '0' })
    assert.deepEqual(await program.ended, { code: 1, signal: null })
    assert.match(
      program.stderr,
      /^The data directory \S+ is in use by process \d+: stop it first.*\(BROKER_DATA_DIR\)\.\n$/
    )
    assert.ok(program.stderr.includes(dataDir))
    assert.ok(first.running)
  })

  test('osb: Node 20 ends with 1 and says which version is needed', async (t) => {
    const node = oldNode()
    if (node === undefined) return t.skip('there is no Node.js older than 22.19 on this machine')
    for (const command of ['serve', 'migrate', '--help']) {
      const program = watch(spawn(node, [osb, command], { env: {}, stdio: ['ignore', 'pipe', 'pipe'] }))
      assert.deepEqual(await program.ended, { code: 1, signal: null })
      assert.match(program.stderr, /^osb needs Node 22\.19 or newer, and this is \d+\.\d+\.\d+\. .*\n$/)
      assert.equal(program.stdout, '')
    }
  })
})

test('osb serve: an empty variable counts as unset', async (t) => {
  const { serve } = scene(t)
  const broker = await serve({
    ...memory,
    BROKER_HOST: '',
    BROKER_CATALOG_PATH: catalogFile(t, {}),
    BROKER_DEFAULT_PROVIDER: 'example',
    BROKER_MISSING_VERSION_STATUS: '',
    BROKER_ENCRYPTION_KEYS: '',
    DATABASE_URL: '',
    POSTGRESQL_ADMIN_URL: '',
    POSTGRESQL_PUBLIC_PORT: ''
  })
  assert.match(broker.url, /^http:\/\/127\.0\.0\.1:\d+$/)
  const authorization = `Basic ${Buffer.from(`platform:${secrets.password}`).toString('base64')}`
  const reply = await fetch(`${broker.url}/v2/catalog`, { headers: { authorization } })
  assert.equal(reply.status, 412)
})

/** Runs the broker to its end and answers what it said, which must be plain and harmless. */
async function refusalOf(t: TestContext, variables: Variables): Promise<string> {
  const { run } = scene(t)
  const program = run(['serve'], { BROKER_PORT: '0', ...variables })
  await until('it ends or listens', () => !program.running || program.stdout.includes('listens on'))
  assert.doesNotMatch(program.stdout, /listens on/)
  assert.deepEqual(await program.ended, { code: 1, signal: null })
  assert.doesNotMatch(program.stderr, /^ +at /m, 'a stack')
  for (const secret of [...Object.values(secrets), shortKey]) {
    assert.ok(!(program.stdout + program.stderr).includes(secret), 'a secret')
  }
  return program.stderr
}

function catalogFile(t: TestContext, broker: object = { provider: 'example' }): string {
  const path = join(temporaryFolder(t), 'catalog.json')
  const plan = { id: 'toy-plan', name: 'only', description: 'd' }
  const service = { id: 'toy', name: 'toy', description: 'd', bindable: true, 'x-broker': broker, plans: [plan] }
  writeFileSync(path, JSON.stringify({ services: [service] }))
  return path
}

/** A Node.js that is too old, where the machine's own one is. */
function oldNode(): string | undefined {
  for (const path of ['/usr/local/bin/node', '/usr/bin/node']) {
    try {
      const [major = 0, minor = 0] = execFileSync(path, ['-p', 'process.versions.node'], { env: {}, encoding: 'utf8' })
        .split('.')
        .map(Number)
      if (major < 22 || (major === 22 && minor < 19)) return path
    } catch {
      // There is none.
    }
  }
  return undefined
}
