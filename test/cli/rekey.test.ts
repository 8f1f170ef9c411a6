import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Client } from 'pg'
import { testPostgres } from '../helper/postgres.ts'
import {
  end,
  type Program,
  platformOf,
  query,
  scene,
  shipped,
  until,
  type Variables
} from '../server/broker-process.ts'

const keyOf = (kid: string) => `${kid}:${randomBytes(32).toString('base64')}`
const instance = '/v2/service_instances/i-1'
const binding = `${instance}/service_bindings/b-1`
const provision = { ...shipped, organization_guid: 'org', space_guid: 'space' }
const counts = (kid: string) => `instance.state\t${kid}\t1\nbinding.state\t${kid}\t1\nbinding.reply\t${kid}\t1\n`

/** A broker's environment with these keys, on a database of its own. */
async function environment() {
  const { adminUrl, createDatabase } = await testPostgres()
  const DATABASE_URL = await createDatabase()
  const variables = {
    BROKER_STORAGE: 'postgres',
    BROKER_USERNAME: 'platform',
    BROKER_PASSWORD: 'secret',
    DATABASE_URL,
    POSTGRESQL_ADMIN_URL: adminUrl
  }
  return { url: DATABASE_URL, with: (keys: string): Variables => ({ ...variables, BROKER_ENCRYPTION_KEYS: keys }) }
}

async function outcome(program: Program) {
  const { code } = await program.ended
  return { code, stdout: program.stdout, stderr: program.stderr }
}

const rekey = (t: TestContext, variables: Variables, ...options: string[]) =>
  outcome(scene(t).run(['rekey', ...options], variables))

test('osb rekey: keys are rotated while a broker serves, and the old one is not needed afterwards', async (t) => {
  const { url, with: env } = await environment()
  const [old, next] = [keyOf('old'), keyOf('next')]
  const { serve } = scene(t)
  let broker = await serve(env(old))
  const call = (method: string, path: string, body?: object) =>
    platformOf(broker, 'platform:secret')(method, path, body)
  assert.equal((await call('PUT', instance, provision)).status, 201)
  const bound = await call('PUT', binding, shipped)
  assert.equal(bound.status, 201)

  const early = await rekey(t, env(next), '--check')
  assert.deepEqual([early.code, early.stdout], [1, counts('old')])
  const lost = await rekey(t, env(next))
  assert.deepEqual([lost.code, lost.stdout], [1, counts('old')])
  assert.match(lost.stderr, /^The binding\.reply of binding "b-1" of instance "i-1" is encrypted with the key "old", /m)
  assert.match(lost.stderr, /^rekeyed 0, and 3 cannot be opened$/m)

  await end(broker, 'SIGTERM')
  broker = await serve(env(`${next},${old}`))
  const checked = await rekey(t, env(`${next},${old}`), '--check')
  assert.deepEqual([checked.code, checked.stdout], [1, counts('old')])
  assert.equal(checked.stderr, '3 not under the first key, "next": the keys they are under are still needed\n')

  // Killed with one text left, which somebody else holds.
  const holder = new Client({ connectionString: url })
  await holder.connect()
  await holder.query('BEGIN; SELECT FROM osb.service_bindings FOR UPDATE')
  const { run } = scene(t)
  const killed = run(['rekey'], env(`${next},${old}`))
  await until('the instance is done', async () => (await kidsOf(url, 'service_instances')) === 'next')
  assert.equal((await end(killed, 'SIGKILL')).signal, 'SIGKILL')
  await holder.end()
  assert.equal(await kidsOf(url, 'service_bindings'), 'old')

  const done = await rekey(t, env(`${next},${old}`))
  assert.deepEqual(done, {
    code: 0,
    stdout: counts('next'),
    stderr: 'rekeyed 2\nall under the first key, "next"; no longer needed: "old"\n'
  })
  assert.deepEqual((await call('GET', binding)).body, bound.body)
  assert.deepEqual(broker.log, [], 'nothing to warn of')

  await end(broker, 'SIGTERM')
  broker = await serve(env(next))
  assert.deepEqual((await call('GET', binding)).body, bound.body)
  assert.deepEqual(broker.log, [])
})

async function kidsOf(url: string, table: string): Promise<unknown> {
  return (await query(url, `SELECT osb.sealed_kid(state) AS kid FROM osb.${table}`))[0]?.kid
}

test('osb serve: keys that are gone are named once in its log, another key of the same name ends with 1', async (t) => {
  const { with: env } = await environment()
  const [old, next] = [keyOf('old'), keyOf('next')]
  const { serve, run } = scene(t)
  const first = await serve(env(old))
  assert.equal((await platformOf(first, 'platform:secret')('PUT', instance, provision)).status, 201)
  await end(first, 'SIGTERM')

  const without = await serve(env(next))
  assert.deepEqual(
    without.log.map(({ level, kids }) => ({ level, kids })),
    [{ level: 40, kids: ['old'] }]
  )
  assert.match(String(without.log[0]?.msg), /Add those keys behind the first one in BROKER_ENCRYPTION_KEYS/)
  await end(without, 'SIGTERM')

  const other = await outcome(run(['serve'], { ...env(`${keyOf('old')}`), LOG_LEVEL: 'warn', BROKER_PORT: '0' }))
  assert.equal(other.code, 1)
  assert.match(
    other.stderr,
    /^The key "old" of BROKER_ENCRYPTION_KEYS does not open what is stored under this kid: [^\n]*\n$/
  )
})

test('osb rekey: embedded storage is rekeyed while it is stopped, and refused while it runs', async (t) => {
  const { dataDir, serve, run } = scene(t)
  const file = join(dataDir, 'encryption-keys')
  const none = await rekey(t, {})
  assert.equal(none.code, 1)
  assert.match(none.stderr, /^There is no state in BROKER_DATA_DIR, which is [^\n]*\n$/)

  let broker = await serve()
  const call = (method: string, path: string, body?: object) =>
    platformOf(broker, readFileSync(join(dataDir, 'credentials'), 'utf8').trim())(method, path, body)
  assert.equal((await call('PUT', instance, provision)).status, 201)
  const bound = await call('PUT', binding, shipped)
  writeFileSync(file, `${keyOf('next')},${readFileSync(file, 'utf8').trim()}\n`)
  const busy = await outcome(run(['rekey']))
  assert.equal(busy.code, 1)
  assert.match(busy.stderr, /^The data directory [^\n]* is in use by process \d+: stop it first[^\n]*\n$/)
  await end(broker, 'SIGTERM')

  const done = await outcome(run(['rekey']))
  assert.deepEqual([done.code, done.stdout], [0, counts('next')])
  assert.match(done.stderr, /no longer needed: "k1"\n$/)
  broker = await serve()
  assert.deepEqual((await call('GET', binding)).body, bound.body)
})

test('osb rekey: keys or storage that are of no use end with 1 and one line', async (t) => {
  const { url, with: env } = await environment()
  const secret = randomBytes(31).toString('base64')
  const cases: [Variables, RegExp][] = [
    [
      { ...env(keyOf('k')), BROKER_STORAGE: 'memory' },
      /^osb rekey needs BROKER_STORAGE=postgres or embedded: [^\n]*\n$/
    ],
    [env(''), /^Set BROKER_ENCRYPTION_KEYS [^\n]*openssl rand -base64 32\n$/],
    [env(`k:${secret}`), /^BROKER_ENCRYPTION_KEYS [^\n]*has 31 bytes; it must have 32[^\n]*\n$/],
    [{ ...env(keyOf('k')), DATABASE_URL: `${url}_gone` }, /^DATABASE_URL: database "[^"]*_gone" does not exist\.\n$/],
    [env(`${keyOf('k')},${keyOf('k')}`), /^BROKER_ENCRYPTION_KEYS [^\n]*the kid "k" is there twice[^\n]*\n$/]
  ]
  for (const [variables, says] of cases) {
    const { code, stdout, stderr } = await rekey(t, variables)
    assert.deepEqual([code, stdout], [1, ''])
    assert.match(stderr, says)
    assert.ok(!stderr.includes(secret))
  }
  // The other command that reads the state says it in the same way.
  const { run } = scene(t)
  const audit = await outcome(run(['postgresql', 'audit'], env(`k:${secret}`)))
  assert.equal(audit.code, 1)
  assert.match(audit.stderr, /^BROKER_ENCRYPTION_KEYS [^\n]*has 31 bytes[^\n]*\n$/)
})
