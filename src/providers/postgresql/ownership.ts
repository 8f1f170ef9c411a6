import { codeOf } from './faults.ts'
import type { InstanceNames } from './names.ts'
import { quoteIdentifier } from './quoting.ts'
import type { Session } from './session.ts'

/** Logins that own something in the database themselves. Their default privileges count as owned, and stay. */
export async function loginsWithObjects(maintenance: Session, names: InstanceNames): Promise<string[]> {
  const rows = await maintenance.query<{ rolname: string }>(
    `SELECT DISTINCT r.rolname::text FROM pg_shdepend s
     JOIN pg_database d ON d.oid = s.dbid JOIN pg_roles r ON r.oid = s.refobjid
     WHERE d.datname = $1 AND starts_with(r.rolname, $2) AND s.deptype = 'o'
       AND s.refclassid = 'pg_authid'::regclass AND s.classid <> 'pg_default_acl'::regclass`,
    [names.database, names.loginPrefix]
  )
  return rows.map((row) => row.rolname)
}

/** Gives the owner what bindings made as themselves; else the next binding could not change it. */
export async function heal(tenant: Session, names: InstanceNames, strays: string[]): Promise<void> {
  if (strays.length === 0) return
  const from = strays.map(quoteIdentifier).join(', ')
  try {
    await tenant.query(`REASSIGN OWNED BY ${from} TO ${quoteIdentifier(names.owner)}`)
  } catch (error) {
    // Another binding's open transaction is no reason to refuse this one; the next bind or unbind heals
    if (codeOf(error) !== '55P03') throw error
    tenant.work.log.warn({ logins: strays }, 'Objects that are locked stay with the bindings that made them.')
  }
}
