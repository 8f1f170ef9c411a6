import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Rejected } from '../../../src/core/provider.ts'
import { temporaryFolder } from '../../server/broker-process.ts'
import { adminKinds, connect, Instance, leftovers, setUp } from './support.ts'

/** Saves a table with a client of its own, as pg_dump would; keeps what it was given. */
const script = `
import { appendFileSync, writeFileSync } from 'node:fs'
import { Client } from 'pg'
const [, , file] = process.argv
const { PGHOST: host, PGPORT: port, PGUSER: user, PGPASSWORD: password, PGDATABASE: database } = process.env
const client = new Client({ host, port: Number(port), user, password, database })
await client.connect()
const { rows } = await client.query('SELECT id FROM public.kept ORDER BY id')
const { rows: others } = await client.query(
  "SELECT count(*)::int AS count FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename LIKE 'osb_b_%'"
)
await client.end()
writeFileSync(file, JSON.stringify({ rows, others: others[0].count, instance: process.env.OSB_INSTANCE_ID, secret: process.env.BROKER_PASSWORD }))
appendFileSync(file + '.runs', 'x')
`

for (const admin of adminKinds) {
  test(`deprovision: ${admin} saves the database before it is dropped, when nobody can log in any more`, async (t) => {
    process.env.BROKER_PASSWORD = 'not-for-the-command'
    t.after(() => delete process.env.BROKER_PASSWORD)
    const { file, command } = commandIn(temporaryFolder(t))
    const { provider, sql } = await setUp(t, { admin, backupCommand: command })
    const instance = new Instance(provider)
    await instance.provision()
    const owner = await connect(t, await instance.uri('left'))
    await owner.query('CREATE TABLE kept AS SELECT generate_series(1, 3) AS id')
    await instance.deprovision()
    const saved = JSON.parse(readFileSync(file, 'utf8'))
    assert.deepEqual(saved, { rows: [{ id: 1 }, { id: 2 }, { id: 3 }], others: 0, instance: instance.id })
    assert.deepEqual(await leftovers(sql, instance.token), [])
    await instance.deprovision()
    assert.equal(readFileSync(`${file}.runs`, 'utf8'), 'x')
  })
}

test('[row 32] deprovision: a backup that fails keeps the database, and the next delete tries again', async (t) => {
  const folder = temporaryFolder(t)
  const allowed = join(folder, 'allowed')
  const { provider, sql, adminUrl } = await setUp(t, {
    backupCommand: `test -e '${allowed}' || { echo "no room for $PGPASSWORD" >&2; exit 3; }`
  })
  const instance = new Instance(provider)
  await instance.provision()
  const told: object[] = []
  const note = (fields: object) => void told.push(fields)
  const log = { debug() {}, info() {}, warn: note, error: note }
  await assert.rejects(instance.deprovision({ log }), (error) => {
    assert.ok(error instanceof Rejected)
    assert.deepEqual([error.status, error.details.instanceUsable], [500, false])
    assert.equal(error.message, 'The backup before the removal failed, and the database is kept.')
    return true
  })
  assert.deepEqual(told, [{ code: 3, said: 'no room for (password)\n' }])
  assert.doesNotMatch(JSON.stringify(told), new RegExp(new URL(adminUrl).password))
  await assert.rejects(instance.bind('again'), {
    status: 500,
    message: 'The database of this service instance is closed.'
  })
  assert.equal((await leftovers(sql, instance.token)).length, 3)
  writeFileSync(allowed, '')
  await instance.deprovision()
  assert.deepEqual(await leftovers(sql, instance.token), [])
})

test('deprovision: an abort ends the backup with all that it has started, and keeps the database', async (t) => {
  const started = join(temporaryFolder(t), 'started')
  const ended = `${started}-ended`
  const { provider, sql } = await setUp(t, { backupCommand: `(touch '${started}'; sleep 3; touch '${ended}'); true` })
  const instance = new Instance(provider)
  await instance.provision()
  const controller = new AbortController()
  const removal = instance.deprovision({ signal: controller.signal })
  while (!existsSync(started)) await sleep(10)
  controller.abort(new Error('halted'))
  await assert.rejects(removal, /halted/)
  assert.equal((await leftovers(sql, instance.token)).length, 3)
  await sleep(3_500)
  assert.equal(existsSync(ended), false)
  await instance.deprovision()
  assert.deepEqual(await leftovers(sql, instance.token), [])
})

test('deprovision: an abort also ends a backup that ignores SIGTERM', async (t) => {
  const started = join(temporaryFolder(t), 'started')
  const { provider } = await setUp(t, { backupCommand: `trap '' TERM; touch '${started}'; sleep 120` })
  const instance = new Instance(provider)
  await instance.provision()
  const controller = new AbortController()
  const began = Date.now()
  const removal = instance.deprovision({ signal: controller.signal })
  while (!existsSync(started)) await sleep(10)
  controller.abort(new Error('canceled'))
  await assert.rejects(removal, /canceled/)
  assert.ok(Date.now() - began < 60_000)
})

test('deprovision: what was removed half way is not saved a second time', async (t) => {
  const { file, command } = commandIn(temporaryFolder(t))
  const { provider, sql } = await setUp(t, { backupCommand: command })
  const instance = new Instance(provider)
  await instance.provision()
  const owner = await connect(t, await instance.uri('left'))
  await owner.query('CREATE TABLE kept AS SELECT 1 AS id')
  await instance.unbind('left')
  // The process dies behind the backup: its state is the last that it saves.
  const onSave = () => {
    if (existsSync(file)) queueMicrotask(() => controller.abort(new Error('died')))
  }
  const controller = new AbortController()
  await assert.rejects(instance.deprovision({ signal: controller.signal, onSave }))
  await sql(`ALTER DATABASE ${instance.database} ALLOW_CONNECTIONS false`)
  await instance.deprovision()
  assert.equal(readFileSync(`${file}.runs`, 'utf8'), 'x')
  assert.deepEqual(await leftovers(sql, instance.token), [])
})

test('deprovision: a dump is written to the directory, whole or not at all, for the broker alone', async (t) => {
  const folder = temporaryFolder(t)
  const backupDirectory = join(folder, 'dumps')
  mkdirSync(backupDirectory)
  const programs = join(folder, 'bin')
  mkdirSync(programs)
  // Stands for a pg_dump as new as the server, which no machine is sure to have
  writeFileSync(
    join(programs, 'pg_dump'),
    `#!/bin/sh\nset -e\nfor a in "$@"; do case $a in --file=*) f=\${a#--file=};; esac; done\n` +
      `echo "$PGDATABASE as $PGUSER, $*" > "$f"\nif [ -e '${folder}/full' ]; then echo 'no space' >&2; exit 1; fi\n`,
    { mode: 0o755 }
  )
  const { PATH = '' } = process.env
  t.after(() => Object.assign(process.env, { PATH }))
  process.env.PATH = `${programs}:${PATH}`
  const { provider, sql } = await setUp(t, { backupDirectory })
  const instance = new Instance(provider)
  await instance.provision()
  const { database, token } = instance

  writeFileSync(join(folder, 'full'), '')
  const told: object[] = []
  const note = (fields: object) => void told.push(fields)
  await assert.rejects(instance.deprovision({ log: { debug() {}, info() {}, warn: note, error: note } }), {
    status: 500,
    message: 'The backup before the removal failed, and the database is kept.'
  })
  assert.deepEqual(told, [{ code: 1, said: 'no space\n' }])
  assert.deepEqual(readdirSync(backupDirectory), [])
  assert.equal((await leftovers(sql, token)).length, 3)

  rmSync(join(folder, 'full'))
  await instance.deprovision()
  const [file = '', ...more] = readdirSync(backupDirectory)
  assert.deepEqual(more, [])
  assert.match(file, new RegExp(`^${instance.id}-${database}-\\d{8}T\\d{6}Z\\.dump$`))
  assert.equal(statSync(join(backupDirectory, file)).mode & 0o777, 0o600)
  assert.match(
    readFileSync(join(backupDirectory, file), 'utf8'),
    new RegExp(`^${database} as postgres, --format=custom .*--lock-wait-timeout=60000`)
  )
  assert.deepEqual(await leftovers(sql, token), [])
})

test('deprovision: without a pg_dump that can be run the database is kept', async (t) => {
  const backupDirectory = temporaryFolder(t)
  const { PATH = '' } = process.env
  t.after(() => Object.assign(process.env, { PATH }))
  const { provider, sql } = await setUp(t, { backupDirectory })
  const instance = new Instance(provider)
  await instance.provision()
  process.env.PATH = backupDirectory
  const told: object[] = []
  const note = (fields: object) => void told.push(fields)
  await assert.rejects(instance.deprovision({ log: { debug() {}, info() {}, warn: note, error: note } }), {
    status: 500
  })
  assert.match(JSON.stringify(told), /pg_dump cannot be run: spawn pg_dump ENOENT/)
  assert.deepEqual(readdirSync(backupDirectory), [])
  assert.equal((await leftovers(sql, instance.token)).length, 3)
})

function commandIn(folder: string) {
  const file = join(folder, 'saved.json')
  return { file, command: `'${process.execPath}' --input-type=module - '${file}' <<'END'\n${script}\nEND` }
}
