import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Client, Client as PgClient } from 'pg'
import { BOUND_MS, Honest } from './honest.ts'
import { HostileSession } from './hostile-session.ts'
import { adminKinds, cleanUp, connect, type Instance, instanceOf, leftovers, type Scene, setUp } from './support.ts'

/** An empty database has about 8 MB. */
const small = { storage_quota: '12MB', connection_limit: 10 }
const MEGABYTE = `decode(repeat(md5(random()::text), 65536), 'hex')`

for (const admin of adminKinds) {
  for (const [name, statement] of Object.entries({
    'its own password changed': () => `ALTER ROLE CURRENT_USER PASSWORD 'x'`,
    'GRANT on its database': ({ database }: Instance) => `GRANT CONNECT ON DATABASE ${database} TO CURRENT_USER`,
    'REVOKE on its database': ({ database }: Instance) => `REVOKE TEMPORARY ON DATABASE ${database} FROM CURRENT_USER`,
    'a setting in its database': ({ database }: Instance) =>
      `ALTER ROLE CURRENT_USER IN DATABASE ${database} SET work_mem = '5MB'`
  })) {
    test(`quota: with ${admin}, an open transaction keeps neither lock nor closing away: ${name}`, async (t) => {
      const { provider, sql } = await setUp(t, { admin })
      const instance = await instanceOf(t, provider, small)
      const uri = await instance.uri('b')
      const writer = await connect(t, uri)
      await fill(writer, 10)
      await holdOpen({ t, uri, sql }, statement(instance))
      await watchedUntil('locked', instance, async () => (await insert(uri)) !== undefined)
      // PostgreSQL lets everybody write large objects where the admin cannot forbid it.
      const grower = hostile(t, uri, {
        as: 'login',
        steps: [`SELECT lo_from_bytea(0, ${MEGABYTE}) FROM generate_series(1, 4)`],
        end: 'again'
      })
      const [before = 0] = [await sizeOf(sql, instance)]
      await watchedUntil('closed', instance, async () => (await logIn(uri)) !== undefined || grower.ends.has('42501'))
      assert.ok(before > 12 * 1024 ** 2)
      await instance.unbind('b')
      await instance.deprovision()
      assert.deepEqual(await leftovers(sql, instance.token), [])
    })
  }

  test(`quota: with ${admin}, rights of another tenant in a closed database do not keep it from being removed`, async (t) => {
    const { provider, sql } = await setUp(t, { admin })
    const [instance, victim] = [await instanceOf(t, provider, small), await instanceOf(t, provider)]
    const [uri, victimUri] = [await instance.uri('b'), await victim.uri('v')]
    const writer = await connect(t, uri)
    await fill(writer, 10)
    await writer.query('SELECT lo_create(4711)')
    for (const role of [`osb_o_${victim.token}`, `osb_r_${victim.token}`, new URL(victimUri).username]) {
      await writer.query(`GRANT SELECT ON LARGE OBJECT 4711 TO ${role}`)
      await writer.query(`GRANT SELECT ON big TO ${role}`)
    }
    await watchedUntil('locked', instance, async () => (await insert(uri)) !== undefined)
    const grower = hostile(t, uri, {
      as: 'login',
      steps: [`SELECT lo_from_bytea(0, ${MEGABYTE}) FROM generate_series(1, 4)`],
      end: 'again'
    })
    await watchedUntil('closed', instance, async () => (await logIn(uri)) !== undefined || grower.ends.has('42501'))
    const honest = new Honest()
    await honest.step('unbind', (signal) => victim.unbind('v', { signal }))
    await honest.step('deprovision', (signal) => victim.deprovision({ signal }))
    assert.deepEqual(await leftovers(sql, victim.token), [])
    assert.notEqual(await logIn(victimUri), undefined)
  })

  test(`bind: with ${admin}, a pool that uses every connection of a binding keeps no other binding out`, async (t) => {
    const { provider } = await setUp(t, { admin })
    const instance = await instanceOf(t, provider, { connection_limit: 4 })
    const [old, fresh] = [await instance.uri('old'), await instance.uri('fresh')]
    for (let connection = 0; connection < 4; connection += 1) await connect(t, old)
    for (let connection = 0; connection < 4; connection += 1) await connect(t, fresh)
    await assert.rejects(connect(t, old), { code: '53300' })
  })
}

/** A session that begins anew when it is ended; gone with the test. */
function hostile(
  t: Parameters<typeof cleanUp>[0],
  uri: string,
  script: ConstructorParameters<typeof HostileSession>[1]
) {
  const session = new HostileSession(uri, script)
  cleanUp(t, () => session.stop())
  return session
}

/**
 * As the owner and as the login, again after each end of their sessions; resolves when one of them holds. Both may want the
 * same row.
 */
async function holdOpen(
  { t, uri }: { t: Parameters<typeof cleanUp>[0]; uri: string; sql: Scene['sql'] },
  statement: string
): Promise<void> {
  const sessions = (['owner', 'login'] as const).map((as) => hostile(t, uri, { as, steps: ['BEGIN', statement] }))
  await eventually('held open', async () => sessions.some(({ completed, ends }) => completed > 0 || ends.has('57P01')))
}

async function fill(client: Client, megabytes: number): Promise<void> {
  await client.query('CREATE TABLE big (body bytea); ALTER TABLE big ALTER body SET STORAGE EXTERNAL')
  await client.query(`INSERT INTO big SELECT ${MEGABYTE} FROM generate_series(1, $1)`, [megabytes])
}

async function sizeOf(sql: Scene['sql'], { database }: Instance): Promise<number> {
  const [row] = await sql('SELECT pg_database_size($1)::float8 AS bytes', [database])
  return Number(row?.bytes)
}

/** Rounds of the watch until the state is there; the attack goes on meanwhile. */
async function watchedUntil(
  state: 'locked' | 'closed',
  instance: Instance,
  condition: () => Promise<boolean>
): Promise<void> {
  await eventually(state, async () => {
    await instance.watch()
    return await condition()
  })
}

async function eventually(state: string, condition: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + BOUND_MS; !(await condition()); ) {
    if (Date.now() > end) throw new Error(`Not ${state} within ${BOUND_MS} ms.`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

/** The code of the refusal. */
async function insert(uri: string): Promise<string | undefined> {
  return await refusalOf(uri, 'INSERT INTO big DEFAULT VALUES')
}

async function logIn(uri: string): Promise<string | undefined> {
  return await refusalOf(uri, 'SELECT 1')
}

async function refusalOf(connectionString: string, statement: string): Promise<string | undefined> {
  const client = new PgClient({ connectionString, connectionTimeoutMillis: BOUND_MS })
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.query(statement)
    return undefined
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : 'lost'
  } finally {
    await client.end().catch(() => undefined)
  }
}
