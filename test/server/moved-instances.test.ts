import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { testPostgres } from '../helper/postgres.ts'
import { phc } from '../platforms/support.ts'
import { EarlierSealer } from '../stores/postgres/earlier-sealer.ts'
import { end, platformOf, query, scene, shipped, until, type Variables } from './broker-process.ts'

const keyOf = (kid: string) => `${kid}:${randomBytes(32).toString('base64')}`
const instance = '/v2/service_instances/i-1'
const binding = `${instance}/service_bindings/b-1`
const provision = { ...shipped, organization_guid: 'org', space_guid: 'space' }

/** A broker on real PostgreSQL with two platforms, of which `owner` has an instance and a binding. */
async function served(t: TestContext, key: string) {
  const { adminUrl, createDatabase } = await testPostgres()
  const url = await createDatabase()
  const { dataDir, run, serve } = scene(t)
  const platforms = join(dataDir, 'platforms.json')
  const entry = (name: string) => ({ basic: [{ username: name, password_hash: phc(`${name}-password`) }] })
  writeFileSync(platforms, JSON.stringify({ platforms: { owner: entry('owner'), thief: entry('thief') } }))
  const environment = (keys: string): Variables => ({
    BROKER_STORAGE: 'postgres',
    BROKER_PLATFORMS_FILE: platforms,
    DATABASE_URL: url,
    POSTGRESQL_ADMIN_URL: adminUrl,
    BROKER_ENCRYPTION_KEYS: keys
  })
  let broker = await serve(environment(key))
  const callAs = (name: string) => (method: string, path: string, body?: object) =>
    platformOf(broker, `${name}:${name}-password`)(method, path, body)
  const [owner, thief] = [callAs('owner'), callAs('thief')]
  assert.equal((await owner('PUT', instance, provision)).status, 201)
  const bound = await owner('PUT', binding, shipped)
  assert.equal(bound.status, 201)
  const restart = async (keys: string) => {
    await end(broker, 'SIGTERM')
    broker = await serve(environment(keys))
  }
  const rekey = async (keys: string, ...options: string[]) => {
    const program = run(['rekey', ...options], environment(keys))
    const { code } = await program.ended
    return { code, stdout: program.stdout, stderr: program.stderr }
  }
  return { url, owner, thief, bound: bound.body, rekey, restart, log: () => broker.log }
}

/** Writes the platform into every row, as somebody can who has the state database. */
async function moveTo(url: string, platform: string): Promise<void> {
  for (const table of ['service_instances', 'service_bindings', 'operations']) {
    await query(url, `UPDATE osb.${table} SET platform = $1`, [platform])
  }
}

test('a platform that an instance was moved to by SQL gets neither its credentials nor new ones', async (t) => {
  const { url, owner, thief, bound, log } = await served(t, keyOf('k1'))
  await moveTo(url, 'thief')
  for (const [method, path, body] of [
    ['GET', binding, undefined],
    ['PUT', binding, shipped],
    ['PUT', `${instance}/service_bindings/b-2`, shipped],
    ['PATCH', instance, { service_id: shipped.service_id, parameters: {} }]
  ] as const) {
    const answer = await thief(method, path, body)
    assert.equal(answer.status, 500, `${method} ${path}`)
    assert.deepEqual(Object.keys(answer.body), ['description'])
    const text = JSON.stringify(answer.body)
    for (const secret of Object.values(bound.credentials)) assert.ok(!text.includes(String(secret)), text)
    assert.ok(!/owner|thief|platform "/.test(text), `the platform is told of another: ${text}`)
  }
  const [line] = await until('the broken seal is logged', () => log().length >= 4 && log())
  assert.equal(line?.level, 50)
  const { err } = line as { err?: { type?: string; message?: string } }
  assert.equal(err?.type, 'SealBroken')
  assert.equal(
    err?.message,
    'The binding.reply of binding "b-1" of instance "i-1" belongs to the platform "owner", but was to be opened for ' +
      '"thief": the platform of its row was changed in the database.'
  )
  assert.ok(!JSON.stringify(log()).includes(bound.credentials.password))
  await moveTo(url, 'owner')
  assert.deepEqual((await owner('GET', binding)).body, bound)
})

test('osb rekey binds what an earlier version has encrypted, while the broker serves, and a copy of it is of no use', async (t) => {
  const [old, next] = [keyOf('old'), keyOf('next')]
  const { url, owner, thief, bound, rekey, restart } = await served(t, old)
  const copies = await sealedByEarlierVersion(url, old)
  const counts = (kid: string, unbound = '') =>
    ['instance.state', 'binding.state', 'binding.reply'].map((name) => `${name}\t${kid}\t1${unbound}\n`).join('')
  assert.deepEqual((await owner('GET', binding)).body, bound, 'what is not bound yet can be read')
  const checked = await rekey(old, '--check')
  assert.deepEqual([checked.code, checked.stdout], [1, counts('old', '\tunbound')])
  assert.equal(checked.stderr, '3 unbound: they open for any platform until osb rekey has encrypted them again\n')

  const both = `${next},${old}`
  await restart(both)
  let serving = true
  const asked = (async () => {
    let count = 0
    for (; serving || count < 3; count += 1) assert.deepEqual((await owner('GET', binding)).body, bound)
    return count
  })()
  const done = await rekey(both).finally(() => {
    serving = false
  })
  assert.ok((await asked) >= 3)
  assert.deepEqual(done, {
    code: 0,
    stdout: counts('next'),
    stderr: 'rekeyed 3\nall under the first key, "next"; no longer needed: "old"\n'
  })

  await restart(next)
  await query(url, 'UPDATE osb.service_instances SET state = $1', [copies.instance])
  await query(url, 'UPDATE osb.service_bindings SET reply = $1, state = $2', [copies.reply, copies.binding])
  await moveTo(url, 'thief')
  const stolen = await thief('GET', binding)
  assert.equal(stolen.status, 500)
  assert.deepEqual(Object.keys(stolen.body), ['description'])
  const checkedAgain = await rekey(next)
  assert.equal(checkedAgain.code, 1)
  assert.match(checkedAgain.stderr, /is encrypted with the key "old", which BROKER_ENCRYPTION_KEYS does not have/)
})

test('osb rekey with one key binds the texts, and says that copies of them still open', async (t) => {
  const key = keyOf('k1')
  const { url, owner, thief, bound, rekey } = await served(t, key)
  await sealedByEarlierVersion(url, key)
  const done = await rekey(key)
  assert.equal(done.code, 0)
  assert.match(
    done.stderr,
    /^rekeyed 3\ntexts under the key "k1" were unbound\. Copies of them, .* put a new key first, /
  )
  const again = await rekey(key)
  assert.deepEqual([again.code, again.stderr], [0, 'rekeyed 0\nall under the first key, "k1"\n'])
  assert.deepEqual((await owner('GET', binding)).body, bound)
  await moveTo(url, 'thief')
  assert.equal((await thief('GET', binding)).status, 500)
})

/** Replaces the texts by those that an earlier version would have written, and returns them. */
async function sealedByEarlierVersion(url: string, key: string) {
  const sealer = new EarlierSealer(key)
  const again = async (column: 'instance.state' | 'binding.state' | 'binding.reply', text: unknown) => {
    const ids = { platform: 'owner', instanceId: 'i-1', ...(column === 'instance.state' ? {} : { bindingId: 'b-1' }) }
    return sealer.seal(await sealer.open(String(text), { column, ...ids }), { column, ...ids })
  }
  const [row] = await query(
    url,
    `SELECT i.state AS instance, b.state AS binding, b.reply
    FROM osb.service_instances AS i JOIN osb.service_bindings AS b USING (instance_id)`
  )
  const texts = {
    instance: await again('instance.state', row?.instance),
    binding: await again('binding.state', row?.binding),
    reply: await again('binding.reply', row?.reply)
  }
  await query(url, 'UPDATE osb.service_instances SET state = $1', [texts.instance])
  await query(url, 'UPDATE osb.service_bindings SET reply = $1, state = $2', [texts.reply, texts.binding])
  return texts
}
