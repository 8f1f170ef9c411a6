import { randomBytes, randomUUID } from 'node:crypto'
import { after } from 'node:test'
import pg from 'pg'
import { migrate, PostgresStore, parseEncryptionKeys, Sealer } from '../../src/stores/postgres/index.ts'
import { testPostgres } from '../helper/postgres.ts'
import { storeContract } from './contract.ts'

const pools: pg.Pool[] = []
after(() => Promise.all(pools.map((pool) => pool.end())))

let shared: Promise<pg.Pool> | undefined

/** One database for all; a schema of its own for each store, so that none sees what another wrote. */
async function openPool(): Promise<pg.Pool> {
  const { createDatabase } = await testPostgres()
  const pool = new pg.Pool({ connectionString: await createDatabase(), max: 10 })
  pools.push(pool)
  return pool
}

storeContract('PostgresStore', async (options) => {
  shared ??= openPool()
  const pool = await shared
  const schema = `t_${randomUUID().replaceAll('-', '')}`
  await migrate(pool, { schema })
  const sealer = new Sealer(parseEncryptionKeys(`k1:${randomBytes(32).toString('base64')}`))
  return new PostgresStore(pool, { schema, sealer, ...options })
})
