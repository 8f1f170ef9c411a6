import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, type TestContext, test } from 'node:test'
import { Pool } from 'pg'
import { BoundedClient } from '../../src/postgres/index.ts'
import { exampleProvider } from '../../src/providers/example.ts'
import { openStatePool, PostgresStore } from '../../src/stores/postgres/index.ts'
import { migrate } from '../../src/stores/postgres/migrate.ts'
import { bindBody, buildApp, deleteQuery, ids, newEncryptionKeys, provisionBody } from '../helper/app.ts'
import { noPgBouncer, type PgBouncer, startPgBouncer } from '../helper/pgbouncer.ts'
import { testPostgres } from '../helper/postgres.ts'
import {
  ALSO_ASYNC,
  ASYNC,
  accepted,
  answered,
  bindingPath,
  credentialsOf,
  instancePath,
  Platform,
  succeeded
} from '../routes/support.ts'
import { delivering } from './contract/delivering.ts'
import { quotas } from './contract/quotas.ts'
import { recordsKept } from './contract/records-kept.ts'
import { starting } from './contract/starting.ts'
import { surveys } from './contract/surveys.ts'
import { working } from './contract/working.ts'
import { newSealer } from './postgres/fresh-store.ts'

const skip = noPgBouncer ?? false

for (const ignoreOptions of [true, false]) {
  const manner = `PgBouncer in transaction mode that ${ignoreOptions ? 'ignores' : 'refuses'} startup options`

  describe(manner, { skip }, () => {
    let bouncer: PgBouncer | undefined
    const pools: Pool[] = []
    let pool: Promise<Pool> | undefined
    const bouncerFor = async (url: string) => {
      // Few, so that the statements of a session often get another connection than those before
      bouncer ??= await startPgBouncer(url, { ignoreOptions, poolSize: 4 })
      return bouncer.through(url)
    }
    const newDatabase = async () => bouncerFor(await (await testPostgres()).createDatabase())
    const openPool = async () => {
      const opened = openStatePool({ text: await newDatabase(), name: 'url' }, { max: 10 })
      pools.push(opened)
      return opened
    }
    after(async () => {
      await Promise.all(pools.map((one) => one.end()))
      await bouncer?.close()
    })

    describe('the store keeps the contract', () => {
      const open = async (options: object = {}) => {
        pool ??= openPool()
        const schema = `t_${randomUUID().replaceAll('-', '')}`
        await migrate(await pool, { schema })
        return new PostgresStore(await pool, { schema, sealer: newSealer(), ...options })
      }
      recordsKept(open)
      starting(open)
      quotas(open)
      working(open)
      surveys(open)
      delivering(open)
    })

    test('a connection is known not to be direct, and not to be bounded', async () => {
      const client = await (await openPool()).connect()
      assert.ok(client instanceof BoundedClient)
      assert.deepEqual([client.direct, client.bounded], [false, false])
      client.release()
    })

    for (const kind of ['connectionString', 'pool'] as const) {
      test(`a whole life of instances and bindings, with store: { ${kind} }`, async (t) => {
        await lead(t, await storeOf(t, kind, await newDatabase()))
      })
    }
  })
}

async function storeOf(t: TestContext, kind: 'connectionString' | 'pool', connectionString: string) {
  if (kind === 'connectionString') return { connectionString }
  const pool = new Pool({ connectionString, max: 5 })
  t.after(() => pool.end())
  return { pool }
}

/** From a synchronous provision to the delete of an asynchronous create that it cancels. */
async function lead(t: TestContext, store: { connectionString: string } | { pool: Pool }): Promise<void> {
  const app = await buildApp(t, { store, encryptionKeys: newEncryptionKeys(), providers: [exampleProvider()] })
  const platform = new Platform(app)
  answered(await platform.get('/readyz'), 200, { status: 'ok' })
  answered(await platform.provision('i-1'), 201, {})
  const credentials = credentialsOf(await platform.bind('i-1', 'b-1'), 201)
  assert.deepEqual(credentialsOf(await platform.fetchBinding('i-1', 'b-1'), 200), credentials)
  answered(await platform.unbind('i-1', 'b-1'), 200, {})
  answered(await platform.deprovision('i-1'), 200, {})

  const either = ids.plans.either
  const create = accepted(await platform.provision('i-2', provisionBody(either), ASYNC))
  answered(await platform.ended(instancePath('i-2'), create), 200, succeeded)
  const bind = accepted(await platform.bind('i-2', 'b-2', bindBody(either), ASYNC))
  answered(await platform.ended(bindingPath('i-2', 'b-2'), bind), 200, succeeded)
  const remove = accepted(await platform.deprovision('i-2', deleteQuery(either, ALSO_ASYNC)))
  answered(await platform.ended(instancePath('i-2'), remove), 200, succeeded)

  const slow = ids.plans.slow
  const canceled = accepted(await platform.provision('i-3', provisionBody(slow), ASYNC))
  await platform.atWork(instancePath('i-3'), canceled)
  const halting = accepted(await platform.deprovision('i-3', deleteQuery(slow, ALSO_ASYNC)))
  // No notification arrives: the worker learns of it when it renews its lease. The delete begins only when it has let go.
  await platform.atWork(instancePath('i-3'), halting)
  assert.equal((await platform.poll(instancePath('i-3'), canceled)).json().state, 'failed')
}
