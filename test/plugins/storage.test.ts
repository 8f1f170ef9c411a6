import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import fastifyPostgres from '@fastify/postgres'
import Fastify from 'fastify'
import pg from 'pg'
import { type StorageOptions, storage } from '../../plugins/storage.ts'
import { newEncryptionKeys } from '../helper/app.ts'
import { testPostgres } from '../helper/postgres.ts'
import { noEnqueue, provisionStart } from '../stores/records.ts'

function newApp(t: TestContext) {
  const app = Fastify({ logger: false })
  t.after(() => app.close())
  return app
}

async function databaseUrl(): Promise<string> {
  return (await testPostgres()).createDatabase()
}

async function rejection(promise: PromiseLike<unknown>): Promise<string> {
  try {
    await promise
  } catch (error) {
    return String(error)
  }
  return assert.fail('it did not reject')
}

test('storage plugin: memory needs nothing', async (t) => {
  const app = newApp(t)
  await app.register(storage, { store: 'memory' })
  await app.osbStorage.prepare()
  await app.osbStorage.store.health()
  assert.equal(await app.osbStorage.store.getInstance('i-1'), undefined)
  assert.equal(app.hasDecorator('pg'), false)
})

test('storage plugin: PostgreSQL without keys, or with bad ones, does not boot and says what to do', async (t) => {
  const store = { connectionString: 'postgres://127.0.0.1:1/none' }
  const register = (options: StorageOptions) => rejection(newApp(t).register(storage, options))
  assert.match(await register({ store }), /BROKER_ENCRYPTION_KEYS.*encryptionKeys.*openssl rand -base64 32/s)
  for (const encryptionKeys of ['', 'nonsense', 'kid:dG9vIHNob3J0', ':', 'kid:']) {
    const text = await register({ store, encryptionKeys })
    assert.match(text, /key/i)
  }
})

test('storage plugin: other keys than before are named in a warning, or end the preparation', async (t) => {
  const connectionString = await databaseUrl()
  const [before, after] = ['before', 'after'].map((kid) => newEncryptionKeys().replace('test', kid))
  const prepared = async (encryptionKeys: string) => {
    const lines: string[] = []
    const stream = new Writable({ write: (chunk, _encoding, done) => done(void lines.push(String(chunk))) })
    const app = Fastify({ logger: { level: 'warn', stream } })
    t.after(() => app.close())
    await app.register(storage, { store: { connectionString }, encryptionKeys })
    await app.osbStorage.prepare()
    return { store: app.osbStorage.store, lines }
  }
  const { store, lines } = await prepared(String(before))
  assert.deepEqual(lines, [])
  await store.start(provisionStart({}, { state: { name: 'n' } }), noEnqueue)

  const [line = '{}', ...others] = (await prepared(String(after))).lines
  assert.deepEqual([JSON.parse(line).kids, others], [['before'], []])
  assert.match(JSON.parse(line).msg, /BROKER_ENCRYPTION_KEYS \(or the option encryptionKeys\)/)
  assert.deepEqual((await prepared(`${after},${before}`)).lines, [])
  const wrong = newEncryptionKeys().replace('test', 'before')
  assert.match(
    await rejection(prepared(wrong)),
    /^EncryptionKeysError: The key "before" .* does not open what is stored/
  )
})

test('storage plugin: a connection string is prepared on demand and closed with the app', async (t) => {
  const app = newApp(t)
  const connectionString = await databaseUrl()
  await app.register(storage, { store: { connectionString }, encryptionKeys: newEncryptionKeys() })
  await app.osbStorage.prepare()
  await app.osbStorage.prepare()
  await app.osbStorage.store.health()
  assert.equal(await app.osbStorage.store.getInstance('i-1'), undefined)
  const { pool } = app.pg
  await app.close()
  assert.equal(pool.ended, true)
})

test('storage plugin: a connection string that cannot be used names the option', async (t) => {
  const encryptionKeys = newEncryptionKeys()
  const store = { connectionString: 'postgresql://a:hush@h/d?sslMode=require' }
  assert.equal(
    await rejection(newApp(t).register(storage, { store, encryptionKeys })),
    'ConnectionUrlError: store.connectionString has the unknown parameter "sslMode": use "sslmode".'
  )
})

test('storage plugin: a pool has the size that it is given, else 16', async (t) => {
  const connectionString = 'postgresql://a@127.0.0.1:1/d'
  const sizeOf = async (poolSize?: number) => {
    const app = newApp(t)
    await app.register(storage, { store: { connectionString, poolSize }, encryptionKeys: newEncryptionKeys() })
    return app.pg.pool.options.max
  }
  assert.deepEqual([await sizeOf(3), await sizeOf()], [3, 16])
})

test('storage plugin: a server that refuses the login is no server that is away', async (t) => {
  const app = newApp(t)
  const connectionString = (await databaseUrl()).replace(/:[^:@]+@/, ':hush@')
  await app.register(storage, { store: { connectionString }, encryptionKeys: newEncryptionKeys() })
  assert.equal(
    await rejection(app.osbStorage.prepare()),
    'ConnectionRefused: store.connectionString: password authentication failed for user "postgres"'
  )
})

test('storage plugin: an injected pool stays the host’s', async (t) => {
  const pool = new pg.Pool({ connectionString: await databaseUrl(), max: 3 })
  t.after(() => pool.end())
  const app = newApp(t)
  await app.register(storage, { store: { pool }, encryptionKeys: newEncryptionKeys() })
  await app.osbStorage.prepare()
  await app.osbStorage.store.health()
  assert.equal(app.hasDecorator('pg'), false)
  await app.close()
  assert.deepEqual((await pool.query('SELECT 1 AS one')).rows, [{ one: 1 }])
})

test('storage plugin: beside a host’s @fastify/postgres says to give its pool, and takes it', async (t) => {
  const connectionString = await databaseUrl()
  const app = newApp(t)
  await app.register(fastifyPostgres, { connectionString })
  const encryptionKeys = newEncryptionKeys()
  const text = await rejection(app.register(storage, { store: { connectionString }, encryptionKeys }))
  assert.match(text, /store: \{ pool: app\.pg\.pool \}/)

  const host = newApp(t)
  await host.register(fastifyPostgres, { connectionString })
  await host.register(storage, { store: { pool: host.pg.pool }, encryptionKeys })
  await host.osbStorage.prepare()
  await host.osbStorage.store.health()
})
