import assert from 'node:assert/strict'
import { test } from 'node:test'
import { adminKinds, connect, instanceOf, setUp } from './support.ts'

const plan = { connection_limit: 3 }

for (const admin of adminKinds) {
  test(`rotation: with ${admin}, a full pool of one binding leaves room for the pool of its successor`, async (t) => {
    const { provider } = await setUp(t, { admin })
    const instance = await instanceOf(t, provider, plan)
    const fillPool = async (uri: string) => {
      for (let connections = 0; connections < 3; connections++) await connect(t, uri)
      await assert.rejects(connect(t, uri), { code: '53300', message: /too many connections for role/ })
    }
    await fillPool(await instance.uri('old'))
    await fillPool(await instance.uri('new'))
    const third = await instance.uri('third')
    await assert.rejects(connect(t, third), { code: '53300', message: /too many connections for database/ })
    const measure = (await instance.describe())?.measures.find(({ name }) => name === 'connections')
    assert.deepEqual([measure?.used, measure?.limit], [6, 6])
  })

  test(`database_connection_limit: with ${admin}, an update and a repair bring an existing database to it`, async (t) => {
    const { provider, sql } = await setUp(t, { admin })
    const instance = await instanceOf(t, provider, { ...plan, database_connection_limit: 9 })
    const uri = await instance.uri('a')
    const session = await connect(t, uri)
    const limit = async () =>
      (await sql('SELECT datconnlimit AS n FROM pg_database WHERE datname = $1', [instance.database]))[0]?.n
    assert.equal(await limit(), 9)
    await instance.update({ ...plan, database_connection_limit: 12 })
    assert.equal(await limit(), 12)
    // An earlier version gave the database the limit of one binding
    await sql(`ALTER DATABASE ${instance.database} CONNECTION LIMIT 3`)
    assert.deepEqual(
      (await instance.repair()).map(({ finding, healed }) => [finding, healed]),
      [['has the connection limit 3, not 12', true]]
    )
    assert.equal(await limit(), 12)
    assert.equal((await session.query('SELECT 1')).rowCount, 1)
  })
}

test('update: a plan with fewer connections for all bindings together than are open is refused with 422', async (t) => {
  const { provider } = await setUp(t)
  const instance = await instanceOf(t, provider, plan)
  const uris = [await instance.uri('a'), await instance.uri('b')]
  for (const uri of [...uris, ...uris]) await connect(t, uri)
  await assert.rejects(instance.update({ ...plan, database_connection_limit: 3 }), {
    status: 422,
    message: /uses 4 connections, 1 more than the 3 that it allows\.$/
  })
  await instance.update({ ...plan, database_connection_limit: 4 })
})
