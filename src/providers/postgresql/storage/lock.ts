import type { Place } from '../instances.ts'
import type { InstanceNames } from '../names.ts'
import { heal, loginsWithObjects } from '../ownership.ts'
import { quoteIdentifier } from '../quoting.ts'
import { swapToOwner, swapToReader } from '../rights.ts'
import { endSessions, loginsOf } from '../roles.ts'
import type { Session } from '../session.ts'
import { inDatabase } from '../tenant.ts'

/*
 * An instance whose storage is used up is locked: its bindings read, and delete, until there is room again. That it is, the
 * connection limit of the owner's role says: -1 when it is not, else how many MB the database had at the time. Nobody logs in
 * as the owner, so that the limit limits nothing, and no tenant can change it.
 *
 * `default_transaction_read_only` would not do: every session may turn it off.
 */

const MB = 1024 ** 2

/** Whether the instance is locked. */
export async function isLocked(maintenance: Session, { owner }: InstanceNames): Promise<boolean> {
  const rows = await maintenance.query('SELECT FROM pg_roles WHERE rolname = $1 AND rolconnlimit >= 0', [owner])
  return rows.length > 0
}

/**
 * Locks an instance, or goes on to.
 * @param logins those of the owner's bindings
 * @param bytes what the database has now
 */
export async function lock(place: Place, logins: readonly string[], bytes: number): Promise<void> {
  const { maintenance, names } = place
  // First, so that a binding that is made now is made locked
  if (!(await isLocked(maintenance, names))) await mark(place, Math.ceil(bytes / MB))
  await withhold(place, logins)
}

/** Lifts the lock; sessions begin anew, as the owner. */
export async function lift(place: Place, logins: readonly string[]): Promise<void> {
  const { maintenance, names } = place
  await maintenance.query(`ALTER DATABASE ${quoteIdentifier(names.database)} ALLOW_CONNECTIONS true`)
  await inTables(place, logins, (rights, tables, to) => `REVOKE ${rights} ON TABLE ${tables} FROM ${to}`)
  for (const login of logins) {
    await swapToOwner(place, login)
    await endSessions(maintenance, login)
  }
  await mark(place, -1)
}

/** Closes a locked database that still grows: there are ways to write that no right takes away, such as large objects. */
export async function close({ maintenance, names }: Place): Promise<void> {
  await maintenance.query(`ALTER DATABASE ${quoteIdentifier(names.database)} ALLOW_CONNECTIONS false`)
  for (const login of await loginsOf(maintenance, names)) await endSessions(maintenance, login)
}

/** Does something in a database that {@link close} has closed. Its bindings are locked, whoever gets in meanwhile. */
export async function whileOpen<T>({ maintenance, names }: Place, run: () => Promise<T>): Promise<T> {
  const database = quoteIdentifier(names.database)
  await maintenance.query(`ALTER DATABASE ${database} ALLOW_CONNECTIONS true`)
  const result = await run()
  await maintenance.query(`ALTER DATABASE ${database} ALLOW_CONNECTIONS false`)
  return result
}

/** Keeps logins of the owner's from writing what is theirs, and lets them delete. */
export async function withhold(place: Place, logins: readonly string[]): Promise<void> {
  const { server, maintenance, names } = place
  for (const login of logins) {
    await swapToReader(place, login)
    // One that acts as the owner already would go on to
    await endSessions(maintenance, login)
  }
  const strays = await loginsWithObjects(maintenance, names)
  const run = (tenant: Session) => heal(tenant, names, strays)
  if (strays.length > 0) await inDatabase(server, maintenance, { database: names.database, run })
  await inTables(place, logins, (rights, tables, to) => `GRANT ${rights} ON TABLE ${tables} TO ${to}`)
}

async function mark({ maintenance, names }: Place, limit: number): Promise<void> {
  await maintenance.query(`ALTER ROLE ${quoteIdentifier(names.owner)} CONNECTION LIMIT ${limit.toFixed(0)}`)
}

/** Tables that one statement is about. */
const BATCH = 100

async function inTables(
  { server, maintenance, names }: Place,
  logins: readonly string[],
  statement: (rights: string, tables: string, logins: string) => string
): Promise<void> {
  if (logins.length === 0) return
  const { version } = await server.ready()
  // MAINTAIN, from 17 on, lets them VACUUM FULL; before, only TRUNCATE gives space back at once
  const rights = version >= 170000 ? 'DELETE, TRUNCATE, MAINTAIN' : 'DELETE, TRUNCATE'
  const to = logins.map(quoteIdentifier).join(', ')
  const run = async (tenant: Session) => {
    const batches = await tenant.query<{ tables: string }>(
      `SELECT string_agg(name, ', ') AS tables FROM (
         SELECT format('%I.%I', n.nspname, c.relname) AS name, (row_number() OVER ()) / ${BATCH} AS batch
         FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND c.relowner = (SELECT oid FROM pg_roles WHERE rolname = $1)
       ) AS owned GROUP BY batch`,
      [names.owner]
    )
    for (const { tables } of batches) await tenant.query(statement(rights, tables, to))
  }
  await inDatabase(server, maintenance, { database: names.database, run })
}
