import { randomBytes } from 'node:crypto'
import type { TestContext } from 'node:test'
import pg from 'pg'
import { migrate, PostgresStore, parseEncryptionKeys, Sealer } from '../../../src/stores/postgres/index.ts'
import { testPostgres } from '../../helper/postgres.ts'

export function newSealer(): Sealer {
  return new Sealer(parseEncryptionKeys(`k1:${randomBytes(32).toString('base64')}`))
}

/** A pool on an empty database of its own, and a second one to look and to meddle with. */
export async function freshDatabase(t: TestContext): Promise<{ pool: pg.Pool; meddler: pg.Pool; url: string }> {
  const { createDatabase } = await testPostgres()
  const url = await createDatabase()
  const pool = new pg.Pool({ connectionString: url, max: 10, application_name: 'osb-test' })
  const meddler = new pg.Pool({ connectionString: url, max: 2, application_name: 'meddler' })
  t.after(() => Promise.all([pool.end(), meddler.end()]))
  return { pool, meddler, url }
}

/** A store on a migrated database of its own. */
export async function freshStore(t: TestContext, sealer = newSealer()) {
  const database = await freshDatabase(t)
  await migrate(database.pool)
  const store = new PostgresStore(database.pool, { sealer })
  t.after(() => store.close())
  return { ...database, store, sealer }
}
