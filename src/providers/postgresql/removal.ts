import type { Place } from './instances.ts'
import { type Prepared, rollBack } from './prepared.ts'
import { quoteIdentifier } from './quoting.ts'
import { failureOf, revoke } from './revocation.ts'
import { removeRole } from './role-removal.ts'
import { loginsOf } from './roles.ts'
import type { Session } from './session.ts'
import { connectionLimit, inDatabase } from './tenant.ts'

/**
 * Removes everything that carries the instance's token; succeeds when nothing is left. The owner's role goes last, as
 * it came first: a database of that name without it belongs to somebody else, unless the admin itself owns it.
 */
export async function removeInstance(place: Place): Promise<void> {
  const { maintenance, names } = place
  const logins = await loginsOf(maintenance, names)
  // All are shut out before anything is dropped, because a login that still works could lock what is to be dropped
  const failures = [...(await revoke(place, logins))]
  const unended = await failureOf(maintenance, () => rollBackPrepared(place))
  await maintenance.generate(
    // One whose DROP was interrupted (-2) can be dropped, and nothing else
    `SELECT format('ALTER DATABASE %I ALLOW_CONNECTIONS false', datname) FROM pg_database
     WHERE datname = $1 AND datconnlimit <> -2 AND ${OURS}`,
    [names.database, names.owner]
  )
  const undropped = await failureOf(maintenance, () =>
    maintenance.generate(
      `SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database WHERE datname = $1 AND ${OURS}`,
      [names.database, names.owner]
    )
  )
  // A transaction that could not be rolled back is why the database could not be dropped.
  if (undropped !== undefined) throw unended ?? undropped
  for (const role of [...logins, names.reader, names.owner]) {
    const failure = await failureOf(maintenance, () => removeRole(place, role))
    if (failure !== undefined) failures.push(failure)
  }
  if (failures.length > 0) throw failures[0]
}

const OURS = `(datdba = (SELECT oid FROM pg_roles WHERE rolname = current_user)
               OR EXISTS (SELECT FROM pg_roles WHERE rolname = $2))`

/**
 * Rolls back the prepared transactions in the instance's database, or those of one login. A prepared transaction outlives its
 * session, keeps its locks, and keeps the database from being dropped.
 */
export async function rollBackPrepared({ server, maintenance, names }: Place, login?: string): Promise<void> {
  const { database } = names
  const prepared = await maintenance.query<Prepared & Record<string, unknown>>(
    `SELECT gid, owner::text FROM pg_prepared_xacts
     WHERE database = $1 AND owner IS NOT NULL AND ($2::text IS NULL OR owner = $2)`,
    [database, login ?? null]
  )
  if (prepared.length === 0 || (await connectionLimit(maintenance, database)) === -2) return
  // They can be ended only from within the database. When the instance is removed, no login is left that could enter
  if (login === undefined) await maintenance.query(`ALTER DATABASE ${quoteIdentifier(database)} ALLOW_CONNECTIONS true`)
  const run = async (tenant: Session) => {
    for (const each of prepared) await rollBack(tenant, each)
  }
  await inDatabase(server, maintenance, { database, run })
}
