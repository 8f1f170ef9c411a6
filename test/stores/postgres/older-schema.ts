import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Pool } from 'pg'
import { migrate } from '../../../src/stores/postgres/index.ts'

const ours = fileURLToPath(new URL('../../../migrations', import.meta.url))

/** Brings a database to the schema of an earlier version: that of the migrations up to this number. */
export async function migrateTo(t: TestContext, pool: Pool, last: number): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'osb-migrations-'))
  t.after(() => rm(directory, { recursive: true }))
  const isOld = (source: string) => Number(/(\d{4})_[a-z0-9_]+\.sql$/.exec(source)?.[1] ?? 0) <= last
  await cp(ours, directory, { recursive: true, filter: isOld })
  await migrate(pool, { directory })
}
