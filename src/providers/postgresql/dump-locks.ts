import type { Place } from './instances.ts'
import { inDatabase } from './tenant.ts'

/** The share of the server's lock table that one dump may fill. */
const SHARE = 0.5

interface Locks extends Record<string, unknown> {
  readonly tables: number
  readonly locks: number
}

/**
 * Why a dump cannot be taken, if the database has too many tables. pg_dump locks all tables for as long as it runs, and a
 * server whose lock table is full rejects the statements and the logins of all tenants.
 */
export async function lockShortage({ server, maintenance, names }: Place): Promise<string | undefined> {
  const [row] = await inDatabase(server, maintenance, {
    database: names.database,
    run: (tenant) =>
      tenant.query<Locks>(
        `SELECT current_setting('max_locks_per_transaction')::int *
                (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int) AS locks,
                (SELECT count(*)::int FROM pg_class WHERE relkind IN ('r', 'p') AND oid >= 16384) AS tables`
      )
  })
  if (row === undefined || row.tables <= row.locks * SHARE) return undefined
  return (
    `The database has ${row.tables} tables, and a dump locks all of them; the lock table of the server has room for ` +
    `${row.locks} locks. Increase max_locks_per_transaction.`
  )
}
