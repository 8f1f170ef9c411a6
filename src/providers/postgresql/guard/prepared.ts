import { quoteIdentifier } from '../quoting.ts'
import type { AdminServer } from '../server.ts'
import type { Work } from '../session.ts'
import type { Holder } from './look.ts'

/**
 * Rolls a prepared transaction back, which only its owner or a superuser may do, and only from within its database.
 * @returns whether it was still there
 */
export async function rollBackPrepared(
  server: AdminServer,
  work: Work,
  { database, login, gid }: Pick<Holder, 'database' | 'login' | 'gid'>
): Promise<boolean> {
  const tenant = await server.openDatabase(work, database)
  try {
    const rows = await tenant.query<{ statement: string }>(
      `SELECT format('ROLLBACK PREPARED %L', gid) AS statement FROM pg_prepared_xacts
       WHERE database = current_database() AND owner = $1 AND gid = $2`,
      [login, gid]
    )
    if (rows.length > 0) await tenant.query(`SET ROLE ${quoteIdentifier(login)}`)
    for (const { statement } of rows) await tenant.query(statement)
    return rows.length > 0
  } finally {
    await tenant.close()
  }
}
