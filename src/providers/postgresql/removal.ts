import type { Place } from './instances.ts'
import { quoteIdentifier } from './quoting.ts'
import { disableLogin, dropRole, loginsOf } from './roles.ts'
import type { Session } from './session.ts'
import { connectionLimit, inDatabase } from './tenant.ts'

/**
 * Removes everything that carries the instance's token; succeeds when nothing is left. The owner's role goes last, as
 * it came first: a database of that name without it belongs to somebody else, unless the admin itself owns it.
 */
export async function removeInstance({ server, maintenance, names }: Place): Promise<void> {
  const logins = await loginsOf(maintenance, names)
  // All are shut out before anything is dropped: one that still worked could lock what is to be dropped
  for (const login of logins) await disableLogin(maintenance, names, login)
  await rollBackPrepared({ server, maintenance, names })
  await maintenance.generate(
    // One whose DROP was interrupted (-2) can be dropped, and nothing else
    `SELECT format('ALTER DATABASE %I ALLOW_CONNECTIONS false', datname) FROM pg_database
     WHERE datname = $1 AND datconnlimit <> -2 AND ${OURS}`,
    [names.database, names.owner]
  )
  await maintenance.generate(
    `SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database WHERE datname = $1 AND ${OURS}`,
    [names.database, names.owner]
  )
  for (const role of [...logins, names.reader, names.owner]) await dropRole(server, maintenance, { names, role })
}

const OURS = `(datdba = (SELECT oid FROM pg_roles WHERE rolname = current_user)
               OR EXISTS (SELECT FROM pg_roles WHERE rolname = $2))`

/** A prepared transaction outlives its session and keeps the database from being dropped. */
export async function rollBackPrepared({ server, maintenance, names }: Place): Promise<void> {
  const owners = await maintenance.query<{ owner: string }>(
    'SELECT DISTINCT owner::text FROM pg_prepared_xacts WHERE database = $1 AND owner IS NOT NULL',
    [names.database]
  )
  if (owners.length === 0 || (await connectionLimit(maintenance, names.database)) === -2) return
  // It can be ended only from within the database, and only as its owner; no login is left that could come in with us
  await maintenance.query(`ALTER DATABASE ${quoteIdentifier(names.database)} ALLOW_CONNECTIONS true`)
  const run = async (tenant: Session) => {
    for (const { owner } of owners) {
      await tenant.query(`SET ROLE ${quoteIdentifier(owner)}`)
      await tenant.generate(
        `SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts
         WHERE database = current_database() AND owner = $1`,
        [owner]
      )
    }
  }
  await inDatabase(server, maintenance, { database: names.database, run })
}
