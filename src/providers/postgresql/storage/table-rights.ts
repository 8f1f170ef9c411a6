import { codeOf } from '../faults.ts'
import type { Place } from '../instances.ts'
import { quoteIdentifier } from '../quoting.ts'
import type { Session } from '../session.ts'
import { inDatabase } from '../tenant.ts'

/** Maximum number of tables that locked logins may delete from, because each grant takes time; the largest ones. */
const MAX_TABLES = 10_000
/** Maximum number of tables in one statement. */
const BATCH = 100
/** When no further statement starts, in milliseconds. */
const TIME_MS = 20_000
/** A table that another session changes is left out. */
const PATIENCE = `SET lock_timeout = '500ms'`
/** Lock timeout, deadlock, concurrent change of the same catalog row, table dropped meanwhile. */
const IN_THE_WAY = new Set(['55P03', '40P01', 'XX000', '42P01'])

/** Lets logins delete from the owner's tables. Without ownership, they cannot write anything else. */
export async function grantDelete({ server, maintenance, names }: Place, logins: readonly string[]): Promise<void> {
  if (logins.length === 0) return
  const rights = await rightsOn(server)
  const to = logins.map(quoteIdentifier).join(', ')
  const run = async (tenant: Session) => {
    const tables = await tenant.query<{ name: string }>(
      `SELECT format('%I.%I', n.nspname, c.relname) AS name
       FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace LEFT JOIN pg_class AS t ON t.oid = c.reltoastrelid
       WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND c.relowner = (SELECT oid FROM pg_roles WHERE rolname = $1)
       ORDER BY c.relpages + coalesce(t.relpages, 0) DESC LIMIT ${MAX_TABLES}`,
      [names.owner]
    )
    await inBatches(tenant, tables, (list) => `GRANT ${rights} ON TABLE ${list} TO ${to}`)
  }
  await inDatabase(server, maintenance, { database: names.database, run })
}

/** Takes the rights of {@link grantDelete} back. */
export async function revokeDelete({ server, maintenance, names }: Place, logins: readonly string[]): Promise<void> {
  if (logins.length === 0) return
  const rights = await rightsOn(server)
  const from = logins.map(quoteIdentifier).join(', ')
  const run = async (tenant: Session) => {
    const tables = await tenant.query<{ name: string }>(
      `SELECT DISTINCT format('%I.%I', n.nspname, c.relname) AS name
       FROM pg_shdepend AS s JOIN pg_class AS c ON c.oid = s.objid JOIN pg_namespace AS n ON n.oid = c.relnamespace
       WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype = 'a' AND s.classid = 'pg_class'::regclass
         AND s.refobjid IN (SELECT oid FROM pg_roles WHERE rolname = ANY ($1::text[]))
         AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND c.relkind IN ('r', 'p')
       LIMIT ${MAX_TABLES}`,
      [logins]
    )
    await inBatches(tenant, tables, (list) => `REVOKE ${rights} ON TABLE ${list} FROM ${from}`)
  }
  await inDatabase(server, maintenance, { database: names.database, run })
}

/** MAINTAIN, from PostgreSQL 17 on, lets them `VACUUM FULL` by themselves. */
async function rightsOn(server: Place['server']): Promise<string> {
  const { version } = await server.ready()
  return version >= 170000 ? 'DELETE, TRUNCATE, MAINTAIN' : 'DELETE, TRUNCATE'
}

/** Runs a statement for many tables; where a batch fails, for each of its tables alone. */
async function inBatches(
  tenant: Session,
  tables: readonly { readonly name: string }[],
  statement: (list: string) => string
): Promise<void> {
  const until = performance.now() + TIME_MS
  await tenant.query(PATIENCE)
  let left = 0
  for (let from = 0; from < tables.length; from += BATCH) {
    const batch = tables.slice(from, from + BATCH).map(({ name }) => name)
    if (performance.now() >= until) left += batch.length
    else if (await isDone(tenant, statement(batch.join(', ')))) continue
    else {
      for (const name of batch) {
        if (performance.now() >= until || !(await isDone(tenant, statement(name)))) left += 1
      }
    }
  }
  if (left > 0) tenant.work.log.warn({ tables: left }, 'Tables that are in use, or too many, keep their rights.')
}

/** Whether the statement has succeeded; `false` when another session is in the way. */
async function isDone(tenant: Session, statement: string): Promise<boolean> {
  try {
    await tenant.query(statement)
    return true
  } catch (error) {
    if (!IN_THE_WAY.has(codeOf(error) ?? '')) throw error
    return false
  }
}
