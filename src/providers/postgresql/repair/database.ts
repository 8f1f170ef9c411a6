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
  /** Names of settings that differ from the plan. */
  changed: string[]
  /** `grantee privilege` */
  lost: string[]
  /** Likewise: of PUBLIC, and of roles of other tenants. */
  gained: string[]
}

/** The settings of the database that its plan decides, as the catalog stores them. Other settings are the operator's. */
function planSettings(plan: PlanOptions): Record<string, string> {
  const { statement_timeout, idle_in_transaction_session_timeout, work_mem } = plan
  return { statement_timeout, idle_in_transaction_session_timeout, work_mem }
}

/** Maximum number of rights of other roles that a repair reads. */
const MAX_RIGHTS = 100

/** How the database differs from its plan and from an isolated database, and whether the broker can work in it. */
export async function databaseDrift(
  { server, maintenance, names }: Place,
  plan: PlanOptions
): Promise<{ drift: Drift[]; usable: boolean }> {
  const resource = resourceName('database', names.database, server.name)
  const wanted = [
    ...['CONNECT', 'TEMPORARY', 'CREATE'].map((right) => `${names.owner} ${right}`),
    `${names.reader} CONNECT`
  ]
  const [row] = await maintenance.query<DatabaseRow>(
    `WITH d AS (SELECT * FROM pg_database WHERE datname = $1),
     acl AS (
       SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END || ' ' || privilege_type AS entry, grantee
       FROM d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba)))
     )
     SELECT pg_get_userbyid(d.datdba) = current_user AS owned, pg_get_userbyid(d.datdba)::text AS owner,
            d.datallowconn AND d.datconnlimit <> -2 AS open, d.datconnlimit AS "limit",
            EXISTS (SELECT FROM pg_roles WHERE rolname = $2 AND rolconnlimit >= 0) AS locked,
            ARRAY(SELECT split_part(setting, '=', 1) FROM unnest($3::text[]) WITH ORDINALITY AS plan (setting, position)
                  WHERE setting <> ALL (coalesce((SELECT setconfig FROM pg_db_role_setting
                                                  WHERE setdatabase = d.oid AND setrole = 0), '{}'))
                  ORDER BY position) AS changed,
            ARRAY(SELECT entry FROM unnest($4::text[]) AS entry WHERE entry NOT IN (SELECT acl.entry FROM acl)) AS lost,
            -- An operator decides what roles outside of the broker may do.
            ARRAY(SELECT entry FROM acl WHERE entry <> ALL ($4) AND grantee <> d.datdba
                    AND (grantee = 0 OR starts_with(entry, 'osb_')) ORDER BY entry LIMIT ${MAX_RIGHTS}) AS gained
     FROM d`,
    [names.database, names.owner, Object.entries(planSettings(plan)).map((setting) => setting.join('=')), wanted]
  )
  if (row === undefined) return { drift: [{ resource, finding: 'is not there' }], usable: false }
  // The storage quota has closed the database: its roles may not connect.
  const full = row.locked && row.limit !== -2 && !(row.open && !row.lost.includes(`${names.owner} CONNECT`))
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
  for (const setting of row.changed) {
    const heal = () => applyPlan(maintenance, names, plan)
    drift.push({ resource, finding: `has another ${setting} than the plan`, heal })
  }
  for (const entry of row.lost) {
    const [role = '', right = ''] = entry.split(' ')
    if (full && right === 'CONNECT') continue
    add(`${role} has lost ${right}`, `GRANT ${right} ON DATABASE ${database} TO ${quoteIdentifier(role)}`)
  }
  for (const entry of row.gained) {
    const [grantee = '', right = ''] = entry.split(' ')
    const from = grantee === 'PUBLIC' ? grantee : quoteIdentifier(grantee)
    add(`${grantee} has got ${right}`, `REVOKE ${right} ON DATABASE ${database} FROM ${from}`)
  }
  return { drift, usable: !full }
}
