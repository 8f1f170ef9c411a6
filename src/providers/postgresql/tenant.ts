import { codeOf } from './faults.ts'
import { quoteIdentifier } from './quoting.ts'
import type { AdminServer } from './server.ts'
import type { Session } from './session.ts'

/** What is used of a session in the maintenance database. */
type Admin = Pick<Session, 'query' | 'work'>

/** How far a full database is opened for the admin. */
const EXTRA_CONNECTIONS = 5

/** Does something in a tenant's database, as the admin. */
export async function inDatabase<T>(
  server: AdminServer,
  maintenance: Session,
  { database, run }: { database: string; run: (tenant: Session) => Promise<T> }
): Promise<T> {
  const tenant = await withRoom(maintenance, database, () => server.openDatabase(maintenance.work, database))
  try {
    // A newer attempt that began while we connected has ended the maintenance session, and may have missed this one
    await maintenance.query('SELECT 1')
    return await run(tenant)
  } finally {
    await tenant.close()
  }
}

/** Connects even when the tenant uses all connections of the database: the limit is raised for as long as it takes. */
export async function withRoom<T>(maintenance: Admin, database: string, open: () => Promise<T>): Promise<T> {
  try {
    return await open()
  } catch (error) {
    if (codeOf(error) !== '53300') throw error
    const limit = await connectionLimit(maintenance, database)
    // -1 and -2 are no limits: then it is the server that is full
    if (limit === undefined || limit < 0) throw error
    await setConnectionLimit(maintenance, database, limit + EXTRA_CONNECTIONS)
    try {
      return await open()
    } finally {
      // An error would lose the connection that is open
      await setConnectionLimit(maintenance, database, limit).catch((error: unknown) => {
        const fields = { database, limit, reason: String(error) }
        maintenance.work.log.warn(fields, 'A raised connection limit stays until the next bind or repair.')
      })
    }
  }
}

/** -1: none; -2: the database is invalid, because its DROP was interrupted; undefined: there is no such database. */
export async function connectionLimit(
  maintenance: Pick<Session, 'query'>,
  database: string
): Promise<number | undefined> {
  const [row] = await maintenance.query<{ limit: number }>(
    'SELECT datconnlimit AS limit FROM pg_database WHERE datname = $1',
    [database]
  )
  return row?.limit
}

export async function setConnectionLimit(
  maintenance: Pick<Session, 'query'>,
  database: string,
  limit: number
): Promise<void> {
  await maintenance.query(`ALTER DATABASE ${quoteIdentifier(database)} CONNECTION LIMIT ${limit.toFixed(0)}`)
}
