import { applyPlan, type Place } from '../instances.ts'
import { resourceName } from '../inventory.ts'
import type { PlanOptions } from '../plan-options.ts'
import { quoteIdentifier } from '../quoting.ts'
import { setConnectionLimit } from '../tenant.ts'
import type { Drift } from './drift.ts'

interface DatabaseRow extends Record<string, unknown> {
  owned: boolean
  owner: string
  open: boolean
  locked: boolean
  limit: number
  settings: string[]
  /** `grantee privilege` */
  acl: string[]
}

/** How the database differs from what its plan and its isolation want; undefined when it is not there, or cannot be used. */
export async function databaseDrift(
  { server, maintenance, names }: Place,
  plan: PlanOptions
): Promise<{ drift: Drift[]; usable: boolean }> {
  const resource = resourceName('database', names.database, server.name)
  const [row] = await maintenance.query<DatabaseRow>(
    `SELECT pg_get_userbyid(d.datdba) = current_user AS owned, pg_get_userbyid(d.datdba)::text AS owner,
            d.datallowconn AND d.datconnlimit <> -2 AS open, d.datconnlimit AS "limit",
            EXISTS (SELECT FROM pg_roles WHERE rolname = $2 AND rolconnlimit >= 0) AS locked,
            coalesce((SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = d.oid AND setrole = 0), '{}') AS settings,
            ARRAY(SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END || ' ' || privilege_type
                  FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba)))) AS acl
     FROM pg_database AS d WHERE d.datname = $1`,
    [names.database, names.owner]
  )
  if (row === undefined) return { drift: [{ resource, finding: 'is not there' }], usable: false }
  // Its storage quota has closed it: its roles may not connect
  const full = row.locked && row.limit !== -2 && !(row.open && row.acl.includes(`${names.owner} CONNECT`))
  if (!row.open) {
    const finding = row.limit === -2 ? 'its removal was interrupted' : 'is closed'
    return { drift: full ? [] : [{ resource, finding }], usable: false }
  }
  const database = quoteIdentifier(names.database)
  const drift: Drift[] = []
  const add = (finding: string, statement: string) =>
    drift.push({ resource, finding, heal: async () => void (await maintenance.query(statement)) })

  if (!row.owned) add(`belongs to ${row.owner}`, `ALTER DATABASE ${database} OWNER TO CURRENT_USER`)
  const limit = plan.database_connection_limit
  if (row.limit !== limit) {
    const heal = () => setConnectionLimit(maintenance, names.database, limit)
    drift.push({ resource, finding: `has the connection limit ${row.limit}, not ${limit}`, heal })
  }
  for (const setting of ['statement_timeout', 'idle_in_transaction_session_timeout', 'work_mem'] as const) {
    if (row.settings.includes(`${setting}=${plan[setting]}`)) continue
    const heal = () => applyPlan(maintenance, names, plan)
    drift.push({ resource, finding: `has another ${setting} than the plan`, heal })
  }
  const wanted = [
    ...['CONNECT', 'TEMPORARY', 'CREATE'].map((right) => [names.owner, right] as const),
    [names.reader, 'CONNECT'] as const
  ].filter(([, right]) => !full || right !== 'CONNECT')
  for (const [role, right] of wanted) {
    if (row.acl.includes(`${role} ${right}`)) continue
    add(`${role} has lost ${right}`, `GRANT ${right} ON DATABASE ${database} TO ${quoteIdentifier(role)}`)
  }
  for (const entry of row.acl) {
    const [grantee = '', right = ''] = entry.split(' ')
    // What an operator lets his own roles do is his affair; other tenants, and everybody, have nothing to do here
    const foreign = grantee === 'PUBLIC' || (grantee.startsWith('osb_') && !wanted.some(([role]) => role === grantee))
    if (!foreign || entry.startsWith(`${row.owner} `)) continue
    const from = grantee === 'PUBLIC' ? grantee : quoteIdentifier(grantee)
    add(`${grantee} has got ${right}`, `REVOKE ${right} ON DATABASE ${database} FROM ${from}`)
  }
  return { drift, usable: !full }
}
